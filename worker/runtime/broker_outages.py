"""Says in the log that Redis is lost, or refuses, with its message: once, then once a minute, and once when it is over.

A worker tries again every few seconds while a right is missing or Redis is in cluster mode. Celery warns each time, and
without the reason: the repr of redis-py's exceptions leaves the message out.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from celery.worker.consumer.consumer import CONNECTION_RETRY
from celery.worker.consumer.consumer import logger as celery_log

from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["QUIET", "BrokerOutages", "without_celerys_warning"]

log = logging.getLogger(__name__)

QUIET: Final = 5.0
"""So many seconds after the last failure it is over: what fails as soon as the worker fetches is one interruption."""

_AGAIN_AFTER: Final = 60.0

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 3.0


class BrokerOutages:
    """The interruptions of one consumer, which tells of them from its own thread.

    Args:
        monotonic: The clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began_at: float | None = None
        self._last_at = self._said_at = 0.0
        self._said = ""
        self._failures = 0

    def met(self, error: Exception) -> None:
        """Note a failure. It is told if it is the first, if its message is new, or if a minute has gone."""
        now, text = self._monotonic(), f"{type(error).__name__}: {error}"
        if self._began_at is None:
            self._began_at, self._failures = now, 0
        self._last_at = now
        self._failures += 1
        if text == self._said and now - self._said_at < _AGAIN_AFTER:
            return
        self._said, self._said_at = text, now
        log.warning("Connection to broker lost, or refused; it is tried again until it works: %s", text)

    def passed(self) -> None:
        """Note that all is well. That ends an interruption whose last failure was `QUIET` seconds ago."""
        now = self._monotonic()
        if self._began_at is None or now - self._last_at < QUIET:
            return
        log.info("Redis works again after %s; until then it failed %d times", self._lasted(), self._failures)
        self._began_at, self._said = None, ""

    @property
    def pause(self) -> float:
        """Seconds after which to try again: ever longer, up to three."""
        return float(min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 9), _LONGEST_PAUSE))

    def _lasted(self) -> str:
        return span(timedelta(seconds=self._last_at - (self._began_at or 0.0)))


@contextmanager
def without_celerys_warning() -> Iterator[None]:
    """Keep Celery from saying the same in its own way meanwhile."""

    def is_another(record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and CONNECTION_RETRY in record.args)

    celery_log.addFilter(is_another)
    try:
        yield
    finally:
        celery_log.removeFilter(is_another)
