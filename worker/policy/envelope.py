"""What travels with an event from its first enqueue to its end, in the message header ``feedback``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from producer.message import ENVELOPE_VERSION
from worker.policy.attempt import Attempt, read_attempts, with_attempt
from worker.policy.retry import Reason, SendToDeadLetters

__all__ = ["Envelope", "WaitReason"]

_VERSIONS: Final = (1, ENVELOPE_VERSION)
"""What is read. They differ in when the message was counted as accepted, which is the transport's business: when it was
enqueued, or, with version 1, when it was first fetched. What a worker writes has been counted by then."""

_INTEGER: Final = 2**31 - 1
_BIGINT: Final = 2**63 - 1
"""What a column of the dead-letter table holds: a greater number could never be written, and the event never end."""


class WaitReason(StrEnum):
    """Why a message waits for its time in Redis: it travels with it, for operators, and decides nothing."""

    RETRY = "retry"
    """AquilaX could not take it."""
    REDIS = "redis"
    """Redis failed under it."""
    DATABASE = "database"
    """The dead-letter database failed under it."""
    BUSY = "busy"
    """Another message of its request_id is being sent."""
    HOLD = "hold"
    """Its org is held, or its org's key."""
    LIMIT = "limit"
    """Its org has as many requests at once as it may."""
    FAULT = "fault"
    """A fault of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The state of an event's delivery.

    Attributes:
        enqueued_at: When it was first enqueued.
        message_id: The delivery tag under which its first message was handed out, which the transport makes: it tells
            a redelivery from a second vote.
        attempts: Attempts spent.
        snoozes: How often it was snoozed.
        dead_letter: The id of the dead letter that is being replayed, if it is one.
        replay: The name of the plan that replays it, if one does.
        delivered: Whether AquilaX took it where that could not be recorded yet: it must not be sent again.
        pending_dead_letter: Of what it died, where that could not be written yet: it must not be sent again.
        waits: Why it is scheduled, if it is; for people: it decides nothing.
        history: The last requests that were sent for it, the latest last; likewise.
    """

    enqueued_at: datetime
    message_id: str
    attempts: int = 0
    snoozes: int = 0
    dead_letter: int | None = None
    replay: str | None = None
    delivered: bool = False
    pending_dead_letter: SendToDeadLetters | None = None
    waits: WaitReason | None = field(default=None, compare=False)
    history: tuple[Attempt, ...] = field(default=(), compare=False)

    @property
    def attempt(self) -> int:
        """The number of this attempt; where only the dead letter is left to be written, of the last one."""
        return self.attempts + (self.pending_dead_letter is None)

    def tried(self, attempt: Attempt) -> Self:
        """Return the envelope after a request that did not deliver the event."""
        return replace(self, history=with_attempt(self.history, attempt))

    def spent(self) -> Self:
        """Return the envelope after an attempt."""
        return replace(self, attempts=self.attempts + 1, waits=None)

    def snoozed(self) -> Self:
        """Return the envelope after a delivery that spent no attempt."""
        return replace(self, snoozes=self.snoozes + 1, waits=None)

    def waiting(self, waits: WaitReason) -> Self:
        """Return the envelope of a message that is scheduled for this reason."""
        return replace(self, waits=waits)

    def to_header(self) -> dict[str, Any]:
        """Return the header's value, as JSON can carry it."""
        header = {
            "v": ENVELOPE_VERSION,
            "enqueued_at": self.enqueued_at.isoformat(),
            "message_id": self.message_id,
            "attempts": self.attempts,
            "snoozes": self.snoozes,
            "dead_letter": self.dead_letter,
            "replay": self.replay,
            "delivered": self.delivered or None,
            "pending_dead_letter": self.pending_dead_letter and asdict(self.pending_dead_letter),
            "waits": self.waits and self.waits.value,
            "history": [attempt.to_record() for attempt in self.history] or None,
        }
        return {name: value for name, value in header.items() if value is not None}

    @classmethod
    def from_header(cls, header: object, *, message_id: str, received_at: datetime) -> Self:
        """Read the header of a message; a message of a foreign client has none, and begins here.

        Args:
            header: The header's value, or None.
            message_id: The delivery tag of this message.
            received_at: Stands in for the first enqueue where the header does not tell it, or tells a time to come:
                the clock of that machine is fast, and the horizon is measured by this one.

        Raises:
            ValueError: The header can't be read.
        """
        if header is None:
            return cls(enqueued_at=received_at, message_id=message_id)
        if not isinstance(header, Mapping) or header.get("v") not in _VERSIONS:
            raise ValueError("the header feedback is not of version " + " or ".join(map(str, _VERSIONS)))
        try:
            begun = min(_moment(header.get("enqueued_at")) or received_at, received_at)
            envelope = cls(enqueued_at=begun, message_id=_name(header.get("message_id", message_id)))
            return envelope if header.keys() <= _OF_A_PRODUCER else envelope._published_with(header)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"the header feedback can't be read: {error}") from error

    def _published_with(self, header: Mapping[str, Any]) -> Self:
        """Read what a worker wrote into the header when it published the message again."""
        return replace(
            self,
            attempts=_count(header.get("attempts", 0)),
            snoozes=_count(header.get("snoozes", 0)),
            dead_letter=None if header.get("dead_letter") is None else _count(header["dead_letter"], most=_BIGINT),
            replay=_run(header.get("replay")),
            delivered=header.get("delivered") is True,
            pending_dead_letter=_pending(header.get("pending_dead_letter")),
            history=read_attempts(header.get("history")),
        )


_OF_A_PRODUCER: Final = frozenset({"v", "enqueued_at"})
"""What the header of a message says that no worker has published again."""

_RUN: Final = re.compile(r"[0-9a-f]{32}")


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError("a time is not text")
    moment = datetime.fromisoformat(value)
    if moment.utcoffset() is None:
        raise ValueError("a time has no offset")
    return moment.astimezone(UTC)


def _name(value: object) -> str:
    """The dedup store compares it and Redis carries it, so it must be text that UTF-8 can spell."""
    if not isinstance(value, str):
        raise TypeError("a message's id is not text")
    value.encode()
    return value


def _run(value: object) -> str | None:
    """The database compares it, and would refuse some texts for ever."""
    if value is not None and (not isinstance(value, str) or not _RUN.fullmatch(value)):
        raise TypeError("a replay is not 32 characters of hexadecimal")
    return value


def _count(value: object, *, most: int = _INTEGER) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise TypeError("a count is not a whole number from 0 that the dead-letter table has room for")
    return value


def _pending(value: object) -> SendToDeadLetters | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise TypeError("a pending dead letter is not a mapping")
    status = value.get("http_status")
    return SendToDeadLetters(
        reason=Reason(value["reason"]),
        http_status=None if status is None else _count(status),
        response=str(value.get("response", "")),
    )
