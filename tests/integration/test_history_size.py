"""A week of the history in a real Valkey: small, and read at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.places import Places, places_of
from worker.accounting.history.fields import PEAKS, RESOLUTIONS, SUMS, EventField, ResponseField
from worker.accounting.history.reading import HistoryRange, read_history
from worker.accounting.history.store import Bucket, add_buckets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer

WEEK = 7 * 24 * 3600


@pytest.fixture
def places(valkey: RedisServer) -> Iterator[Places]:
    """An empty queue."""
    with places_of(valkey) as places:
        yield places


def test_a_week_of_the_worst_takes_less_than_two_megabytes(places: Places) -> None:
    """Every bucket that is kept at one time, each with every field, and as many in each as a busy fleet counts."""
    now = places.client.time()[0]
    fields = Counter(dict.fromkeys(SUMS, 600_000)) | Counter({EventField.DELIVERED.value: 36_000_000})
    peaks = dict.fromkeys(PEAKS, 40_000_000)
    written = 0
    for resolution in RESOLUTIONS:
        last = resolution.start_of(now)
        kept = range(last, last - resolution.kept - resolution.seconds, -resolution.seconds)
        for number, start in enumerate(kept, start=1):
            bucket = {(resolution, start): Bucket(fields, peaks)}
            add_buckets(places.client, bucket, writer=resolution.name, number=number, since=now - WEEK, now=now)
            written += 1

    keys = list(places.client.scan_iter("feedback:history*", count=5000))
    size = sum(places.client.memory_usage(key, samples=0) or 0 for key in keys)

    assert len(keys) >= written > 1700
    assert 1_000_000 < size < 2_000_000, f"{size:,} bytes in {len(keys):,} keys"
    for shown in HistoryRange:
        history = read_history(places.client, shown)
        assert all(bucket.responses == 600_000 * len(ResponseField) for bucket in history.buckets[1:])
