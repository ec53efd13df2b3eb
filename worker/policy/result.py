"""How one delivery of a message ends: it is done, it comes again, or it is a dead letter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from worker.policy.envelope import Envelope
    from worker.policy.retry import Reason

__all__ = ["Completed", "DeadLetteredResult", "DeliveryResult", "Redeliver", "ResultKind"]


class ResultKind(StrEnum):
    """An ending as one value, as logs, metrics and traces have it."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    RETRY = "retry"
    """AquilaX can't take it now: it is tried again, and an attempt is spent."""
    HOLD = "hold"
    """Nothing can be sent now."""
    SNOOZED = "snoozed"
    """Something of ours is in the way."""
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """Nothing is left to do; ``summary`` is its `ResultKind`."""

    summary: str

    @property
    def result(self) -> ResultKind:
        """The ending as one value."""
        return ResultKind(self.summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeliver:
    """The message comes again, with this envelope: when it is ``due``, or at the end of its queue.

    One that is ``set_aside`` under a name comes when that is given up; if it can't be set aside, when it is due.

    Poison comes ``as_it_is``: with the header that it has, and without an envelope.
    """

    envelope: Envelope
    summary: str
    due: datetime | None = None
    as_it_is: bool = False
    set_aside: str = ""
    result: ResultKind = ResultKind.SNOOZED


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetteredResult:
    """The event is in the dead-letter table, for this reason."""

    reason: Reason
    summary: str
    result: ResultKind = ResultKind.DEAD_LETTER


DeliveryResult = Completed | Redeliver | DeadLetteredResult
