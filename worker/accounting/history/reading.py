"""Reads the history of the last hour, day or week, in two round trips: the time, and the buckets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.history.fields import (
    HOURS,
    LATENCY,
    MINUTES,
    PEAKS,
    QUARTERS,
    EventField,
    PeakField,
    Resolution,
    ResponseField,
    read_fields,
)
from worker.accounting.history.latency import quantile
from worker.clients.redis.keys import feedback_keys
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["FAILURES", "QUANTILES", "History", "HistoryBucket", "HistoryRange", "merged", "read_history"]

QUANTILES: Final = (0.5, 0.95, 0.99)

FAILURES: Final = (
    ResponseField.TOO_MANY,
    ResponseField.SERVER_ERROR,
    ResponseField.TIMEOUT,
    ResponseField.NO_RESPONSE,
    ResponseField.OTHER,
)
"""Responses with which AquilaX fails, and the event is no cause of it."""


class HistoryRange(StrEnum):
    """How much is shown: 60 minutes, 96 quarters of an hour, or 168 hours."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"

    @property
    def resolution(self) -> Resolution:
        """How long each bucket is."""
        return {HistoryRange.HOUR: MINUTES, HistoryRange.DAY: QUARTERS, HistoryRange.WEEK: HOURS}[self]

    @property
    def buckets(self) -> int:
        """How many there are, of which the last one still goes on."""
        return {HistoryRange.HOUR: 60, HistoryRange.DAY: 96, HistoryRange.WEEK: 168}[self]

    @property
    def length(self) -> timedelta:
        """How long all of them are."""
        return self.resolution.length * self.buckets


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryBucket:
    """What was counted in one stretch of time.

    Attributes:
        at: When it begins.
        length: How long it is.
        counts: The sums and the peaks, by the names of their fields; of what was never counted there is none.
    """

    at: datetime
    length: timedelta
    counts: Mapping[str, int]

    @property
    def until(self) -> datetime:
        """When it ends."""
        return self.at + self.length

    def sum(self, *fields: StrEnum) -> int:
        """Return the sum of fields."""
        return sum(self.counts.get(field, 0) for field in fields)

    def peak(self, field: PeakField) -> int | None:
        """Return a peak; None if there was no sample."""
        return self.counts.get(field)

    @property
    def dead(self) -> int:
        """How many dead letters there were, of any reason."""
        return self.sum(*Reason)

    @property
    def responses(self) -> int:
        """How often AquilaX was asked."""
        return self.sum(*ResponseField)

    @property
    def failures(self) -> int:
        """How often AquilaX failed."""
        return self.sum(*FAILURES)

    def latency(self, fraction: float) -> float | None:
        """Return how many seconds a fraction of the requests took at most; None if there were none."""
        return quantile({n: self.counts[name] for n, name in enumerate(LATENCY) if name in self.counts}, fraction)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        peaks = {field: self.peak(field) for field in PeakField}
        return {
            "at": self.at.isoformat(),
            "accepted": self.sum(EventField.ACCEPTED),
            "delivered": self.sum(EventField.DELIVERED),
            "duplicate": self.sum(EventField.DUPLICATE),
            "stale": self.sum(EventField.STALE),
            "retried": self.sum(EventField.RETRIED),
            "held": self.sum(EventField.HELD),
            "snoozed": self.sum(EventField.SNOOZED),
            "dead": {reason.value: self.sum(reason) for reason in Reason},
            "responses": {field.name.lower(): self.sum(field) for field in ResponseField},
            "latency_seconds": {
                f"p{round(fraction * 100)}": _rounded(self.latency(fraction)) for fraction in QUANTILES
            },
            "queued": peaks[PeakField.QUEUED],
            "in_flight": peaks[PeakField.IN_FLIGHT],
            "scheduled": peaks[PeakField.SCHEDULED],
            "oldest_seconds": peaks[PeakField.OLDEST],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was counted.

    Attributes:
        shown: How much of it.
        since: Since when anything was; None if nothing was.
        buckets: One after another; the last one still goes on, unless an end in the past was asked for.
    """

    shown: HistoryRange
    since: datetime | None
    buckets: tuple[HistoryBucket, ...]

    @property
    def total(self) -> HistoryBucket:
        """All of it as one bucket: the sums of the sums, and the highest peaks."""
        return merged(self.buckets)

    def last(self, buckets: int) -> HistoryBucket:
        """Return the last buckets as one."""
        return merged(self.buckets[-buckets:])

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "range": self.shown.value,
            "recorded_since": None if self.since is None else self.since.isoformat(),
            "bucket_seconds": self.shown.resolution.seconds,
            "total": self.total.to_record(),
            "buckets": [bucket.to_record() for bucket in self.buckets],
        }


def merged(buckets: Iterable[HistoryBucket]) -> HistoryBucket:
    """Return buckets that follow one another, at least one, as one."""
    buckets = tuple(buckets)
    counts = Counter[str]()
    for bucket in buckets:
        for name, number in bucket.counts.items():
            counts[name] = max(counts.get(name, 0), number) if name in PEAKS else counts[name] + number
    return HistoryBucket(at=buckets[0].at, length=buckets[-1].until - buckets[0].at, counts=counts)


def read_history(client: redis.Redis, shown: HistoryRange, *, until: datetime | None = None) -> History:
    """Read the history.

    Args:
        client: The home partition's client, which answers in bytes.
        shown: How much of it.
        until: A moment in the last bucket; this one if None.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    keys, resolution = feedback_keys(client), shown.resolution
    last = resolution.start_of(client.time()[0] if until is None else until.timestamp())
    starts = [last - resolution.seconds * back for back in reversed(range(shown.buckets))]
    with client.pipeline(transaction=False) as pipe:
        pipe.hget(keys.history, "since")
        for start in starts:
            pipe.hgetall(resolution.key(keys, start))
        since, *hashes = pipe.execute(raise_on_error=False)  # of another type: no program of ours wrote it
    for error in (since, *hashes):
        if isinstance(error, Exception) and not isinstance(error, redis.ResponseError):
            raise error
    buckets = (
        HistoryBucket(
            at=datetime.fromtimestamp(start, UTC),
            length=resolution.length,
            counts=read_fields(found) if isinstance(found, dict) else {},
        )
        for start, found in zip(starts, hashes, strict=True)
    )
    return History(shown=shown, since=_moment(since), buckets=tuple(buckets))


def _moment(since: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(since), UTC) if isinstance(since, bytes) else None
    except (ValueError, OverflowError, OSError):
        return None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
