"""Says once in the log that something of ours is unavailable, and once that it is back; however many events wait."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import redis

from worker.concurrency.file_descriptors import OutOfDescriptors
from worker.database.errors import DeadLetterStoreUnavailable
from worker.policy.durations import span
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dependency", "DependencyOutages", "wait_reason_of"]

log = logging.getLogger(__name__)

_QUIET: Final = timedelta(seconds=5)
"""So long after the last failure a success ends the trouble: one that comes and goes is one trouble."""

_REFUSAL: Final = 200
"""Characters of what Redis says that a line of the log has room for."""


class Dependency(StrEnum):
    """What events are snoozed for, and operators repair."""

    REDIS = "Redis"
    DATABASE = "the dead-letter database"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """One trouble so far."""

    began_at: datetime
    last_at: datetime
    failures: int


def wait_reason_of(error: Exception) -> WaitReason:
    """Return what a message waits for that such an error keeps back."""
    match error:
        case redis.RedisError():
            return WaitReason.REDIS
        case DeadLetterStoreUnavailable():
            return WaitReason.DATABASE
        case _:
            return WaitReason.FAULT


class DependencyOutages:
    """The troubles of one worker process; safe for many threads."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._courses: dict[Dependency, _Course] = {}
        self._one_at_a_time = threading.Lock()

    def explain(self, error: Exception) -> str:
        """Note an error for which an event waits that is not to blame, and return why it waits, as text."""
        match error:
            case redis.ResponseError():
                text = f"Redis refuses: {' '.join(str(error).split())[:_REFUSAL] or type(error).__name__}"
                self._met(Dependency.REDIS, text)
            case redis.RedisError():
                text = f"Redis is unavailable: {type(error).__name__}"
                self._met(Dependency.REDIS, text)
            case DeadLetterStoreUnavailable():
                text = f"the dead-letter database is unavailable: {error}"
                self._met(Dependency.DATABASE, text)
            case OutOfDescriptors():  # who found out has said so in the log
                text = f"this worker can open no connection: {error}"
            case _:
                text = f"a fault of ours: {type(error).__name__}"
                log.error("an event waits because of a fault of ours", exc_info=error)
        return text

    def _met(self, trouble: Dependency, text: str) -> None:
        """Note a failure; the first one of a trouble is a warning."""
        now = self._now()
        with self._one_at_a_time:
            before = self._courses.get(trouble)
            begun = before or _Course(began_at=now, last_at=now, failures=0)
            self._courses[trouble] = replace(begun, last_at=now, failures=begun.failures + 1)
        if before is None:
            log.warning("events are snoozed: %s; they spend no attempt, and go on once it is back", text)

    def passed(self, trouble: Dependency) -> None:
        """Note a success. It costs a look-up where there is no trouble."""
        if trouble not in self._courses:
            return
        now = self._now()
        with self._one_at_a_time:
            course = self._courses.get(trouble)
            if course is None or now - course.last_at < _QUIET:
                return
            del self._courses[trouble]
        log.info(
            "%s is back after %s; until then it failed %s times",
            trouble.value,
            span(now - course.began_at),
            f"{course.failures:,}",
        )
