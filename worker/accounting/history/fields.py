"""What the history has: its resolutions, and the fields of a bucket: a minute, a quarter of an hour, or an hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from worker.accounting.history.latency import BUCKETS
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.clients.redis.keys import FeedbackKeys

__all__ = [
    "HOURS",
    "LATENCY",
    "MINUTES",
    "PEAKS",
    "QUARTERS",
    "RESOLUTIONS",
    "SUMS",
    "EventField",
    "PeakField",
    "Resolution",
    "ResponseField",
    "read_fields",
]

_HOUR: Final = 3600
_SLACK: Final = 900
"""Seconds for which a bucket is kept beyond what is shown, as no clock is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """How long a bucket is, and how long it is kept.

    Attributes:
        name: Stands in the bucket's key.
        seconds: How long a bucket is; buckets begin at multiples of it since 1970.
        kept: For how many seconds after its end a bucket is kept.
    """

    name: str
    seconds: int
    kept: int

    @property
    def length(self) -> timedelta:
        """How long a bucket is."""
        return timedelta(seconds=self.seconds)

    def start_of(self, at: float) -> int:
        """Return when the bucket of a moment begins; both in seconds since 1970."""
        return int(at // self.seconds) * self.seconds

    def key(self, keys: FeedbackKeys, start: int) -> str:
        """Return the key of the bucket that begins at ``start``, in seconds since 1970."""
        return f"{keys.history_of[self.name]}{start // self.seconds}"


MINUTES: Final = Resolution(name="minute", seconds=60, kept=24 * _HOUR + _SLACK)
QUARTERS: Final = Resolution(name="quarter", seconds=900, kept=24 * _HOUR + _SLACK)
HOURS: Final = Resolution(name="hour", seconds=_HOUR, kept=7 * 24 * _HOUR + _SLACK)
RESOLUTIONS: Final = (MINUTES, QUARTERS, HOURS)
"""Each count is written into a bucket of each of them, so that a day is 96 buckets to read, and not 1,440."""


class EventField(StrEnum):
    """Sums: what became of events. A dead letter is counted under its `Reason`."""

    ACCEPTED = "acc"
    DELIVERED = "del"
    DUPLICATE = "dup"
    STALE = "stale"
    RETRIED = "retry"
    HELD = "hold"
    SNOOZED = "snooze"


class ResponseField(StrEnum):
    """Sums: what AquilaX responded."""

    SUCCESS = "2xx"
    REDIRECT = "3xx"
    TOO_MANY = "429"
    CLIENT_ERROR = "4xx"
    """But for 429."""
    SERVER_ERROR = "5xx"
    TIMEOUT = "timeout"
    NO_RESPONSE = "none"
    """The connection failed: refused, reset, TLS, name resolution."""
    OTHER = "other"
    """No status that HTTP has."""


class PeakField(StrEnum):
    """Peaks: the highest of what was sampled once a minute."""

    QUEUED = "queued"
    IN_FLIGHT = "in_flight"
    SCHEDULED = "scheduled"
    OLDEST = "oldest"
    """Seconds."""


LATENCY: Final = tuple(str(bucket) for bucket in range(BUCKETS))
"""The field of each bucket of `worker.accounting.history.latency`: Redis stores a short number in two bytes."""

SUMS: Final = frozenset({*(field.value for kind in (EventField, ResponseField, Reason) for field in kind), *LATENCY})
PEAKS: Final = frozenset(field.value for field in PeakField)

_DIGITS: Final = 18
"""As many as a number of Redis may have whatever they are."""


def read_fields(found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Return what is known of a bucket's hash: a field of a newer release, or of another program, is passed over."""
    numbers = {name: text for name, text in found.items() if text.isdigit() and len(text) <= _DIGITS}
    read = {name.decode(errors="replace"): int(text) for name, text in numbers.items()}
    return {name: number for name, number in read.items() if name in SUMS or name in PEAKS}
