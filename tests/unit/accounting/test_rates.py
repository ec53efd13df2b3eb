from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.accounting.snapshot import Rates, Snapshot

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
A_SECOND = timedelta(seconds=1)


def _snapshot(at: datetime = NOON, *, queued: int = 0, **counts: int) -> Snapshot:
    return Snapshot(at=at, counts=counts, queued=queued, in_flight=0, scheduled=0, oldest=None, hold=None, holders=())


def _rates(**changes: Any) -> Rates:
    return replace(Rates(accepted=0, ended=0, delivered=0, over=A_SECOND), **changes)


def test_rates_are_differences_over_time() -> None:
    """By Redis' clock, which stands in both snapshots."""
    before = _snapshot(accepted=100, delivered=50, dead=10)
    after = _snapshot(NOON + 2 * A_SECOND, accepted=110, delivered=70, dead=14)

    assert Rates.between(before, after) == Rates(accepted=5, ended=12, delivered=10, over=2 * A_SECOND)


@pytest.mark.parametrize("later", [timedelta(), -A_SECOND])
def test_without_time_in_between_there_is_no_rate(later: timedelta) -> None:
    """Redis' clock may have been set back, or another machine's Redis answers after a failover."""
    assert Rates.between(_snapshot(), _snapshot(NOON + later)) is None


def test_counts_that_went_back_are_no_negative_rate() -> None:
    """Redis was emptied in between."""
    rates = Rates.between(_snapshot(accepted=9, delivered=9), _snapshot(NOON + A_SECOND))

    assert rates == Rates(accepted=0, ended=0, delivered=0, over=A_SECOND)


def test_a_queue_that_is_worked_off_is_empty_some_time() -> None:
    """What ends more than what comes works it off."""
    assert _rates(accepted=10, ended=30).drained_in(_snapshot(queued=100)) == timedelta(seconds=5)


@pytest.mark.parametrize(("accepted", "ended", "queued"), [(10, 10, 5), (10, 5, 5), (0, 30, 0), (0, 1e-300, 10**9)])
def test_a_queue_that_grows_or_is_empty_has_no_such_time(accepted: float, ended: float, queued: int) -> None:
    """Nor has one that would take longer than there will be."""
    assert _rates(accepted=accepted, ended=ended).drained_in(_snapshot(queued=queued)) is None
