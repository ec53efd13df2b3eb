"""Limits on the requests at once of each org, in one worker process, so that one org's storm starves no other.

An event of an org that has as many requests under way as it may waits in the worker, outside the limit on deliveries,
as long as few do so; and beyond that in Redis, for as long as this worker takes to send those of its org before it. So
it comes back when there is room, and what is behind it in the queue is handed out meanwhile. Nothing is claimed yet,
and no attempt is spent.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.concurrency.scheduler import Scheduler, Waiter

__all__ = ["OrgLimits"]

_AT_FIRST: Final = 0.1
"""Seconds that a request takes, as long as none has been measured."""

_WEIGHT: Final = 0.1
"""Of the last request in the mean of an org's: some twenty count."""

_SOONER: Final = 0.9
"""Of the time after which there would be room: a message that comes a bit early waits in the worker; one that comes
late leaves a place empty."""

_LONGEST_IN_WORKER: Final = 30.0
"""Seconds: as long as a request and more. Those before hang then, and the message goes back."""

_LONGEST: Final = 300.0
"""Seconds for which a message is put off: AquilaX may be fast again long before the time that was reckoned."""


@dataclass(slots=True)
class _Org:
    """What an org has under way here."""

    running: int = 0
    waiting: deque[Waiter] = field(default_factory=deque)
    mean: float = _AT_FIRST
    booked_until: float = 0.0
    """Until when those take that were put off, by the monotonic clock."""

    @property
    def is_idle(self) -> bool:
        return not self.running and not self.waiting


class OrgLimits:
    """Counts the requests of each org; safe for many threads.

    Args:
        most: Requests of one org at once, and as many events of it that wait in this process.
        most_waiting: Events of all orgs that wait in this process.
        monotonic: The clock.
    """

    def __init__(self, most: int, *, most_waiting: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.most = most
        self._most_waiting = most_waiting
        self._waiting = 0
        self._monotonic = monotonic
        self._orgs: dict[str, _Org] = {}
        self._one_at_a_time = threading.Lock()
        self._closed = False
        self._scheduler: Scheduler | None = None

    def enter(self, org: str) -> timedelta | None:
        """Take one of an org's places, waiting for it if few do; `leave` gives it back.

        Returns:
            None once the place is taken; else after how long the event may come again.
        """
        waiter = None
        with self._one_at_a_time:
            one = self._orgs.setdefault(org, _Org())
            if one.running < self.most:
                one.running += 1
                return None
            scheduler = current_scheduler()
            is_full = len(one.waiting) >= self.most or self._waiting >= self._most_waiting
            if scheduler is None or is_full or self._closed:
                return self._put_off(one)
            waiter, self._scheduler = scheduler.waiter(), scheduler
            one.waiting.append(waiter)
            self._waiting += 1
        scheduler.wait_outside_limit(waiter, timeout=_LONGEST_IN_WORKER)
        with self._one_at_a_time:
            if waiter not in one.waiting:
                return None  # the place was handed over, be it in the moment in which it gave up
            one.waiting.remove(waiter)
            self._waiting -= 1
            return timedelta() if self._closed else self._put_off(one)

    def leave(self, org: str, *, took: float | None) -> None:
        """Give a place back, or hand it over to the event that has waited longest here.

        Args:
            org: The org.
            took: For how many seconds it was taken; None if nothing was sent.
        """
        scheduler = current_scheduler()
        with self._one_at_a_time:
            one = self._orgs[org]
            if took is not None:
                one.mean += (took - one.mean) * _WEIGHT
            next_one = one.waiting.popleft() if one.waiting and not self._closed else None
            if next_one is not None:
                self._waiting -= 1
            else:
                one.running -= 1
                if one.is_idle and one.booked_until <= self._monotonic():
                    del self._orgs[org]
        if next_one is not None and scheduler is not None:
            scheduler.wake_threadsafe((next_one,))

    def close(self) -> None:
        """Let no event wait in this process any more, as it ends: those that do come again at once, to another."""
        with self._one_at_a_time:
            self._closed = True
            waiters = [waiter for one in self._orgs.values() for waiter in one.waiting]
        if waiters and self._scheduler is not None:
            self._scheduler.wake_threadsafe(waiters)

    def running(self, org: str) -> int:
        """Return how many of an org's places are taken."""
        one = self._orgs.get(org)
        return 0 if one is None else one.running

    @property
    def waiting(self) -> int:
        """How many events wait in this process."""
        return self._waiting

    def _put_off(self, one: _Org) -> timedelta:
        now = self._monotonic()
        one.booked_until = max(one.booked_until, now + one.mean) + one.mean / self.most * _SOONER
        return timedelta(seconds=min(one.booked_until - now, _LONGEST))
