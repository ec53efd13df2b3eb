"""A week of a history as a fleet leaves it: days and nights, and an AquilaX that has begun to fail and to slow down."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import TYPE_CHECKING

from worker.accounting.history.fields import LATENCY, MINUTES, RESOLUTIONS, EventField, PeakField, ResponseField
from worker.accounting.history.latency import bucket_of
from worker.accounting.history.store import Bucket, add_buckets, buckets_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    import redis

__all__ = ["FAILING_FOR", "fill_history"]

FAILING_FOR = 12
"""Minutes for which AquilaX has been failing one request in four."""

_WEEK = 7 * 24 * 60
_AT_ONCE = 200


def fill_history(client: redis.Redis, *, minutes: int = _WEEK, seed: int = 1) -> int:
    """Write the minutes until now, and return when the last one began, in seconds since 1970."""
    chance, now = random.Random(seed), client.time()[0]
    last = MINUTES.start_of(now)
    starts = range(last - 60 * (minutes - 1), last + 1, 60)
    for number, begin in enumerate(range(0, len(starts), _AT_ONCE), start=1):
        some = starts[begin : begin + _AT_ONCE]
        buckets = buckets_of({start: _minute(start, (last - start) // 60, chance) for start in some})
        for start in some:
            for resolution in RESOLUTIONS:
                bucket = buckets.setdefault((resolution, resolution.start_of(start)), Bucket())
                for name, value in _peaks((last - start) // 60, chance).items():
                    bucket.peaks[name] = max(bucket.peaks.get(name, 0), value)
        add_buckets(client, buckets, writer="a test", number=number, since=starts[0], now=now)
    return last


def _minute(start: int, ago: int, chance: random.Random) -> Counter[str]:
    events = max(int(120 * (1.3 + math.sin(start / 86400 * 2 * math.pi)) * chance.uniform(0.8, 1.2)), 1)
    failed = events // 4 if ago < FAILING_FOR else int(events * chance.uniform(0, 0.006))
    slow = 4.0 if ago < FAILING_FOR + 5 else 1.0
    dead = chance.randrange(3) if ago % 17 == 0 or ago < FAILING_FOR else 0
    counts = Counter(
        {
            EventField.ACCEPTED.value: events,
            EventField.DELIVERED.value: events - failed,
            EventField.RETRIED.value: failed,
            ResponseField.SUCCESS.value: events - failed,
            ResponseField.SERVER_ERROR.value: failed - failed // 3,
            ResponseField.TIMEOUT.value: failed // 3,
            ResponseField.CLIENT_ERROR.value: dead,
            Reason.REJECTED.value: dead,
            Reason.EXHAUSTED.value: 1 if ago < FAILING_FOR and ago % 3 == 0 else 0,
        }
    )
    for _ in range(min(events, 60)):
        counts[LATENCY[bucket_of(slow * chance.lognormvariate(-2.2, 0.5))]] += 1
    return +counts


def _peaks(ago: int, chance: random.Random) -> dict[str, int]:
    waiting = 40 * (FAILING_FOR - ago) if ago < FAILING_FOR else 0
    return {
        PeakField.QUEUED.value: chance.randrange(12) + waiting // 4,
        PeakField.IN_FLIGHT.value: chance.randrange(8),
        PeakField.SCHEDULED.value: chance.randrange(4) + waiting,
        PeakField.OLDEST.value: chance.randrange(3) + (60 * (FAILING_FOR - ago) if ago < FAILING_FOR else 0),
    }
