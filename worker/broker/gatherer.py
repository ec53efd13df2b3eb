"""Gathering what ends under several leases: one thread is woken for all of them, and wakes the event loop once.

With a lease for each partition the threads of the leases would be woken, one after another, for nearly every message.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.broker.lease import Lease

__all__ = ["GATHER", "Gatherer"]

GATHER: Final = 0.005
"""Seconds for which ended messages are gathered while others are in flight: one round trip for all, and one for all
that is fetched in their place."""


class Gatherer:
    """Ends, for several leases, the messages for which nothing is left to write; safe for many threads.

    Args:
        flushed: Called, by its thread, after messages have ended: there is room for more.
    """

    def __init__(self, flushed: Callable[[], None]) -> None:
        self._flushed = flushed
        self._leases: WeakSet[Lease] = WeakSet()
        self._due: set[Lease] = set()
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, lease: Lease) -> bool:
        """Note a lease under which something has ended; return whether that will be looked at."""
        with self._changed:
            if self._closed:
                return False
            is_first = not self._due
            self._due.add(lease)
            self._leases.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gatherer", daemon=True)
                self._thread.start()
            elif is_first:
                self._changed.notify()
            return True

    def close(self) -> None:
        """Take no more leases; what they hold yet they end by themselves."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    if self._closed:
                        return
                    self._changed.wait()
                leases = list(self._leases)
            if any(lease.more_will_end for lease in leases):
                time.sleep(GATHER)
            with self._changed:
                due, self._due = self._due, set()
            for lease in due:
                lease.end_settled()
            self._flushed()
