"""What is held under a lease, and what is still to be written down of it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

__all__ = ["Noted"]

_AT_ONCE: Final = 1000
"""Messages that one script ends: it shall not keep Redis from others for long."""


@dataclass(eq=False, repr=False)
class Noted:
    """The messages of one lease, by their delivery tags.

    Attributes:
        changed: Guards all of it.
        held: Since when each is held, by `time.monotonic`, the oldest first.
        ended: What to count for each that has ended.
        returned: Those that go back to the end of their queues.
        deferred: When each is due that waits, as `lua/schedule.lua` takes it.
    """

    changed: threading.Condition
    held: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    returned: dict[str, str] = field(default_factory=dict)
    deferred: dict[str, str] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """How many are to be written down."""
        return len(self.ended) + len(self.returned) + len(self.deferred)

    @contextmanager
    def taken(self, notes: dict[str, str]) -> Iterator[dict[str, str]]:
        """Take notes, which are done when the block ends; if it fails they stand there again.

        They are taken before Redis is told: a message that goes back may be handed over to this very lease meanwhile.
        """
        with self.changed:
            taken = dict(islice(notes.items(), _AT_ONCE))
            held = [tag for tag in taken if tag in self.held]
            for tag in taken:
                notes.pop(tag)
                self.held.pop(tag, None)
        try:
            yield taken
        except BaseException:
            with self.changed:
                later = dict(notes)
                notes.clear()
                notes.update(taken | later)
                self.held.update(dict.fromkeys(held, time.monotonic()))
            raise

    def drop_ended(self, is_written: Callable[[str], bool]) -> None:
        """Take the notes of ended messages of which nothing is left to write; ``is_written`` is asked once for each."""
        with self.changed:
            for tag in [tag for tag in self.ended if is_written(tag)]:
                del self.ended[tag]
                self.held.pop(tag, None)
