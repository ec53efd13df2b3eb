"""The line that the log has for each outcome: one, with all that is known of it."""

from __future__ import annotations

import logging
import random
import re
from typing import TYPE_CHECKING, Any, Final

from worker.observability.log_records import quick_record
from worker.policy.message import Message
from worker.policy.result import DeadLetteredResult, ResultKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.delivery.hooks import AttemptHooks
    from worker.policy.classification import Classification, Response
    from worker.policy.message import PoisonMessage
    from worker.policy.result import DeliveryResult

__all__ = ["FIELDS", "OutcomeLog", "trace_id_of"]

log = logging.getLogger(__name__)

FIELDS: Final = (
    "request_id",
    "org",
    "group",
    "message_id",
    "attempt",
    "outcome",
    "reason",
    "classification",
    "http_status",
    "latency_seconds",
    "age_seconds",
    "dead_letter",
    "trace_id",
    "weight",
)
"""What a line may say beside its message, in this order."""

_HAPPY: Final = frozenset({ResultKind.DELIVERED, ResultKind.DUPLICATE, ResultKind.STALE})


class OutcomeLog:
    """Writes a line for each outcome; an observer.

    Args:
        now: The clock.
        sample: The fraction of the lines that is written where all went well: delivered, duplicate, stale. A line that
            stands for others too says for how many, in ``weight``.
        chance: Chance, from 0 to 1.
    """

    def __init__(
        self, *, now: Callable[[], datetime], sample: float = 1.0, chance: Callable[[], float] = random.random
    ) -> None:
        self.now = now
        self._sample = sample
        self._chance = chance

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:
        """See `Hooks`."""
        return _Line(self, message)

    def hold_begun(self, kind: str) -> None:
        """See `Hooks`; `worker.delivery.hold.Announcer` says it."""

    def weight(self, result: ResultKind) -> float:
        """Return for how many lines one is to be written; 0 if it is not."""
        if result not in _HAPPY or self._sample >= 1:
            return 1
        return 1 / self._sample if self._chance() < self._sample else 0


class _Line:
    """What is known of one attempt, until it is written."""

    __slots__ = ("_classification", "_log", "_message", "_response")

    def __init__(self, of: OutcomeLog, message: Message | PoisonMessage) -> None:
        self._log = of
        self._message = message
        self._response: Response | None = None
        self._classification: Classification | None = None

    def responded(self, response: Response, classification: Classification) -> None:
        self._response, self._classification = response, classification

    def ended(self, ending: DeliveryResult) -> None:
        """Write the line, unless its level is off: then nothing is formatted."""
        level = logging.WARNING if ending.result is ResultKind.DEAD_LETTER else logging.INFO
        if log.isEnabledFor(level) and (weight := self._log.weight(ending.result)):
            fields = self._fields(ending, weight)
            record = quick_record(log.name, level, ending.summary, file=__file__, function="ended")
            vars(record).update(fields)
            log.handle(record)

    def _fields(self, ending: DeliveryResult, weight: float) -> dict[str, Any]:
        message = self._message
        envelope = message.envelope
        fields: dict[str, Any] = {
            "attempt": envelope.attempt,
            "outcome": ending.result.value,
            "age_seconds": round((self._log.now() - envelope.enqueued_at).total_seconds(), 3),
        }
        if isinstance(message, Message):
            event = message.event
            fields |= {"request_id": event.request_id, "org": event.org, "group": event.group}
        else:
            fields["message_id"] = envelope.message_id
        if self._response is not None and self._classification is not None:
            fields["classification"] = self._classification.value
            fields["latency_seconds"] = round(self._response.took.total_seconds(), 3)
            if self._response.status is not None:
                fields["http_status"] = self._response.status
        if isinstance(ending, DeadLetteredResult):
            fields["reason"] = ending.reason.value
        if envelope.dead_letter is not None:
            fields["dead_letter"] = envelope.dead_letter
        if trace_id := trace_id_of(message.trace.get("traceparent", "")):
            fields["trace_id"] = trace_id
        if weight != 1:
            fields["weight"] = round(weight, 3)
        return fields


def trace_id_of(traceparent: str) -> str:
    """Return the trace's id in a header of https://www.w3.org/TR/trace-context/; '' if it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else ""


_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
