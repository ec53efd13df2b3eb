"""The arithmetic for more than one Redis: linear in the primaries, and the page says what it comes to."""

from __future__ import annotations

import pytest

from benchmarks.past_one import RATES, Costs, page, size
from tests.support.processes import ROOT

COSTS = Costs(enqueue=0.03, alone=0.05, deliver=0.1, look=0.3, worker=0.5)


@pytest.mark.parametrize("rate", [20_000, 50_000, 100_000, 500_000, 1_000_000])
def test_throughput_is_linear_in_the_primaries(rate: int) -> None:
    """None is busier than planned, and each takes about as many events however many there are."""
    found = size(COSTS, rate)

    assert found.work <= 0.6
    assert rate / found.primaries == pytest.approx(0.6 * 1000 / 0.13, rel=0.25)
    assert found.workers == pytest.approx(rate * 0.5 / 1000 / 0.6, abs=1)


def test_each_primary_has_a_partition() -> None:
    """A primary without one would be idle."""
    for rate in RATES:
        found = size(COSTS, rate)
        assert found.partitions >= found.primaries


def test_more_than_there_can_be_is_refused() -> None:
    """It is better told than promised."""
    with pytest.raises(ValueError, match="more than 256 partitions"):
        size(COSTS, 3_000_000)


def test_the_page_is_what_was_measured_comes_to() -> None:
    """`python -m benchmarks.past_one` writes it."""
    assert (ROOT / "docs" / "performance" / "past-one-redis.md").read_text() == page(Costs.measured())
