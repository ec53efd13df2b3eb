"""What the queue adds to the history once a minute: how deep it is, how old, and how many events were accepted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, cast

from worker.accounting.carried_totals import CARRIED_FROM, GENERATION
from worker.accounting.continuity import LAYOUT_FIELD, MOVING_FIELD
from worker.accounting.history.fields import MINUTES, RESOLUTIONS, EventField, PeakField
from worker.accounting.history.store import Bucket, buckets_of, write_sample
from worker.clients.redis.keys import feedback_keys

if TYPE_CHECKING:
    import redis

    from worker.accounting.history.store import Buckets
    from worker.accounting.snapshot import Snapshot

__all__ = ["Sample", "add_sample", "spread"]

_LONGEST: Final = 24 * 3600
"""Seconds over which what was accepted is spread at most, if there was no worker to take samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample, as the next one needs it.

    Attributes:
        at: When, in seconds since 1970.
        accepted: How many messages had been accepted by then.
        data: Which data were counted: of others the difference would mean nothing.
    """

    at: float
    accepted: int
    data: str

    @classmethod
    def of(cls, snapshot: Snapshot) -> Sample | None:
        """Return the sample of a snapshot; None if its count says nothing: of a move, or not of all partitions."""
        counts = snapshot.counts
        if not snapshot.is_whole or counts.get(MOVING_FIELD):
            return None
        data = "/".join(str(counts.get(field, "")) for field in (GENERATION, CARRIED_FROM, LAYOUT_FIELD))
        return cls(at=snapshot.at.timestamp(), accepted=snapshot.balance.accepted, data=data)

    @classmethod
    def read(cls, text: bytes) -> Sample | None:
        """Read what `write` returned; None if it is none."""
        try:
            read = json.loads(text)
            return cls(at=float(read["at"]), accepted=int(read["accepted"]), data=str(read["data"]))
        except (ValueError, TypeError, KeyError):
            return None

    def write(self) -> bytes:
        """Return it as it is stored."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    def since(self, last: Sample) -> dict[int, int]:
        """Return how many were accepted since the last sample, by when the minute begins; {} if that is unknown."""
        if last.data != self.data or last.accepted > self.accepted or last.at >= self.at:
            return {}
        return spread(self.accepted - last.accepted, max(last.at, self.at - _LONGEST), self.at)


def spread(total: int, since: float, until: float) -> dict[int, int]:
    """Return a total in even parts over the minutes from one moment to another, by when each begins; none is lost.

    Args:
        total: What is spread.
        since: In seconds since 1970.
        until: In seconds since 1970, later than that.
    """
    parts: dict[int, int] = {}
    given = 0
    for start in range(MINUTES.start_of(since), int(until) + 1, MINUTES.seconds):
        share = min((start + MINUTES.seconds - since) / (until - since), 1.0)
        part = round(total * share) - given
        given += part
        if part:
            parts[start] = part
    return parts


def add_sample(client: redis.Redis, snapshot: Snapshot) -> bool:
    """Add a snapshot to the history; return whether no other worker had in the meantime.

    Args:
        client: The home partition's client, which answers in bytes.
        snapshot: The queue. While some partitions can't be asked its sums say too little, so only the age is noted.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    stored = cast("bytes | None", client.hget(feedback_keys(client).history, "sample")) or b""
    last, sample = Sample.read(stored), Sample.of(snapshot)
    accepted = sample.since(last) if last is not None and sample is not None else {}
    buckets = buckets_of({start: {EventField.ACCEPTED.value: part} for start, part in accepted.items()})
    _add_peaks(buckets, snapshot)
    new = b"" if sample is None and snapshot.is_whole else stored if sample is None else sample.write()
    return write_sample(client, buckets, last=stored, sample=new, now=snapshot.at.timestamp())


def _add_peaks(buckets: Buckets, snapshot: Snapshot) -> None:
    at = snapshot.at.timestamp()
    peaks = {PeakField.OLDEST.value: 0 if snapshot.oldest is None else max(int(at - snapshot.oldest.timestamp()), 0)}
    if snapshot.is_whole:
        peaks[PeakField.QUEUED.value] = snapshot.queued
        peaks[PeakField.IN_FLIGHT.value] = snapshot.in_flight
        peaks[PeakField.SCHEDULED.value] = snapshot.scheduled
    for resolution in RESOLUTIONS:
        buckets.setdefault((resolution, resolution.start_of(at)), Bucket(Counter())).peaks.update(peaks)
