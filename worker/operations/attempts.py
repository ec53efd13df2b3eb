"""The last requests of an event as operators are told of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from worker.policy.attempt import read_attempts
from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from worker.database.models import DeadLetter
    from worker.policy.attempt import Attempt

__all__ = ["attempts_of", "milliseconds_of", "then_of"]

_THEN: Final = {
    ResultKind.RETRY: "to be retried",
    ResultKind.HOLD: "held: not this event's fault",
    ResultKind.DEAD_LETTER: "dead letter",
}


def attempts_of(row: DeadLetter) -> tuple[Attempt, ...]:
    """Return the last requests that were sent for a dead letter before it died, the latest last."""
    return read_attempts(json.loads(row.history)) if row.history else ()


def milliseconds_of(attempt: Attempt) -> int:
    """Return for how many milliseconds a response was waited for."""
    return round(attempt.latency.total_seconds() * 1000)


def then_of(attempt: Attempt) -> str:
    """Return what became of an event after a request, as text."""
    return _THEN.get(attempt.then, attempt.then.value)
