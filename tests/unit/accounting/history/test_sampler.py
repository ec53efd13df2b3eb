"""How many events were accepted between two samples of the queue, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.accounting.history.sampler import Sample, spread
from worker.accounting.snapshot import PartitionLook, Snapshot

NOON = 1_769_860_800
"""A minute begins then."""


def test_what_was_accepted_within_a_minute_is_of_that_minute() -> None:
    """The usual case: samples as the minutes begin."""
    assert spread(7, NOON, NOON + 60) == {NOON: 7}


def test_between_two_minutes_it_is_divided() -> None:
    """By how much of each there was."""
    assert spread(100, NOON + 45, NOON + 105) == {NOON: 25, NOON + 60: 75}


def test_nothing_is_lost_by_rounding() -> None:
    """A handful in an hour without a worker is still that handful."""
    parts = spread(7, NOON + 13, NOON + 3613)

    assert sum(parts.values()) == 7
    assert all(part > 0 for part in parts.values())
    assert min(parts) >= NOON
    assert max(parts) <= NOON + 3600


def sample(**changes: Any) -> Sample:
    """A sample."""
    fields: dict[str, Any] = {"at": NOON + 60.0, "accepted": 100, "data": "1//"}
    return Sample(**fields | changes)


def test_the_difference_of_two_samples_was_accepted() -> None:
    """Between them."""
    assert sample(at=NOON + 120.0, accepted=130).since(sample()) == {NOON + 60: 30}


@pytest.mark.parametrize(
    "later",
    [
        sample(at=NOON + 120.0, accepted=1_000_100, data="2/1/"),
        sample(at=NOON + 120.0, accepted=3),
        sample(accepted=130),
    ],
    ids=["of other data", "of a Redis that lost some", "of the same moment"],
)
def test_a_difference_that_says_nothing_is_not_recorded(later: Sample) -> None:
    """A repair after a loss raises the count by all that was ever accepted: that was not accepted now."""
    assert later.since(sample()) == {}


def test_a_day_without_a_worker_is_spread_over_a_day_at_most() -> None:
    """As long as minutes are kept."""
    parts = sample(at=NOON + 60 + 30 * 24 * 3600.0, accepted=50_000).since(sample(accepted=0))

    assert sum(parts.values()) == 50_000
    assert len(parts) <= 24 * 60 + 1


def test_a_sample_is_read_as_it_was_written() -> None:
    """What another program wrote there is none."""
    assert Sample.read(sample().write()) == sample()
    for odd in (b"", b"abc", b"[]", b"{}", b'{"at": "x", "accepted": 1, "data": ""}', b"\xff"):
        assert Sample.read(odd) is None


def snapshot(**changes: Any) -> Snapshot:
    """A moment of the queue."""
    fields: dict[str, Any] = {
        "at": datetime.fromtimestamp(NOON, UTC),
        "counts": {"accepted": 5, "generation": 3},
        "queued": 1,
        "in_flight": 0,
        "scheduled": 0,
        "oldest": None,
        "hold": None,
        "holders": (),
    }
    return Snapshot(**fields | changes)


def test_a_count_that_is_not_of_all_or_on_its_way_is_no_sample() -> None:
    """While a partition is away, and while everything is moved to another Redis."""
    away = PartitionLook(number=1)

    assert Sample.of(snapshot()) == Sample(at=NOON, accepted=5, data="3//")
    assert Sample.of(snapshot(parts=(away,))) is None
    assert Sample.of(snapshot(counts={"accepted": 5, "moving": 1})) is None
