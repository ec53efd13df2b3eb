"""The time by Redis' clock: one clock for all workers."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.concurrency.scheduler import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RedisClock"]

_TRUSTED: Final = 60.0
"""Seconds for which one look at Redis' clock serves; by then this machine's has drifted by less than a ms."""

_AGAIN: Final = 5.0
"""Seconds before another look while Redis is unavailable."""

_LONG: Final = 1.0
"""Seconds after which the age of a reply is unknown: redis-py may have asked more than once meanwhile."""


class RedisClock:
    """Tells the time by Redis' clock; safe for many threads.

    A worker whose own clock is wrong would take a later vote for an earlier one, and retry too early or too late. While
    Redis is unavailable the last look serves; before the first look, this machine's clock.

    Args:
        client: Redis. It is not closed here.
        monotonic: What tells how long ago something was.
        local: This machine's clock.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        local: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._local = local
        self._zero: datetime | None = None
        self._look_at = float("-inf")
        self._one_at_a_time = threading.Lock()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        monotonic = self._monotonic()
        if monotonic >= self._look_at:
            self._look()
            monotonic = self._monotonic()
        return self._local() if self._zero is None else self._zero + timedelta(seconds=monotonic)

    def _look(self) -> None:
        """Look at Redis' clock, once for all who ask meanwhile; they go by the last look."""
        if not self._one_at_a_time.acquire(blocking=False):
            return
        try:
            if self._monotonic() >= self._look_at:
                self._ask()
        finally:
            self._one_at_a_time.release()

    def _ask(self) -> None:
        asked_at = self._monotonic()
        try:
            seconds, microseconds = run_in_thread(self._client.time)
        except redis.RedisError:
            self._look_at = self._monotonic() + _AGAIN
            return
        answered_at = self._monotonic()
        if answered_at - asked_at > _LONG and self._zero is not None:
            self._look_at = answered_at + _AGAIN
            return
        then = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        # Redis read its clock after it was asked: so this is never early, and no wait is cut short.
        self._zero = then - timedelta(seconds=asked_at)
        self._look_at = answered_at + _TRUSTED
