"""What ends under several leases is gathered: one thread, one call for all of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.support.processes import eventually
from worker.broker.gatherer import Gatherer

if TYPE_CHECKING:
    from collections.abc import Callable


class _Lease:
    """A lease that ends what it is asked to."""

    more_will_end = True

    def __init__(self, ends: Callable[[], None] = lambda: None) -> None:
        self.ended = 0
        self._ends = ends

    def end_settled(self) -> None:
        self._ends()
        self.ended += 1


def test_several_leases_end_together() -> None:
    """The event loop is woken once, after all of them."""
    seen: list[list[int]] = []
    leases: list[Any] = [_Lease() for _ in range(5)]
    gatherer = Gatherer(lambda: seen.append([lease.ended for lease in leases]))

    assert [gatherer.add(lease) for lease in leases] == [True] * 5

    eventually(lambda: seen, what="they have ended")
    assert seen[0] == [1] * 5
    gatherer.close()


def test_what_ends_meanwhile_is_looked_at_next() -> None:
    """A lease that is noted while it is being looked at is looked at again."""
    again = threading.Event()
    found: list[Any] = []

    def note_again() -> None:
        if not again.is_set():
            again.set()
            gatherer.add(found[0])

    found.append(_Lease(note_again))
    gatherer = Gatherer(lambda: None)
    gatherer.add(found[0])

    eventually(lambda: found[0].ended == 2, what="it was looked at twice")
    gatherer.close()


def test_a_closed_one_takes_none() -> None:
    """The lease ends its messages by itself then."""
    lease: Any = _Lease()
    gatherer = Gatherer(lambda: None)
    gatherer.close()

    assert not gatherer.add(lease)
    assert lease.ended == 0


def test_what_was_noted_before_it_closed_is_looked_at() -> None:
    """A worker that stops leaves nothing unended."""
    lease: Any = _Lease()
    gatherer = Gatherer(lambda: None)
    assert gatherer.add(lease)
    gatherer.close()

    eventually(lambda: lease.ended == 1, what="it has ended")
