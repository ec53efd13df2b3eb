"""A fixed histogram of latencies: its error is bounded, and two of them add up."""

from __future__ import annotations

import random
from collections import Counter
from math import ceil

import pytest

from worker.accounting.history.latency import (
    BUCKETS,
    LONGEST,
    RELATIVE_ERROR,
    SHORTEST,
    bucket_of,
    quantile,
)


@pytest.mark.parametrize("fraction", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quantile_is_off_by_the_documented_error_at_most(fraction: float, seed: int) -> None:
    """Over the whole range, however the durations are distributed."""
    chance = random.Random(seed)
    durations = sorted(min(max(chance.lognormvariate(-2, 2), SHORTEST), LONGEST * 0.99) for _ in range(2000))
    true = durations[ceil(len(durations) * fraction) - 1]

    found = quantile(Counter(map(bucket_of, durations)), fraction)

    assert found is not None
    assert abs(found - true) <= true * RELATIVE_ERROR * 1.000001
    assert pytest.approx(0.0864, abs=0.0001) == RELATIVE_ERROR  # as the documents say: 8.7 % at most


def test_histograms_add_up() -> None:
    """That of two workers is the sum of theirs, bucket by bucket."""
    one, other = [0.01 * n for n in range(1, 50)], [0.3 * n for n in range(1, 20)]

    together = Counter(map(bucket_of, one)) + Counter(map(bucket_of, other))

    assert together == Counter(map(bucket_of, one + other))


def test_every_duration_has_a_bucket() -> None:
    """Also none at all, and more than any time limit; buckets rise with what is in them."""
    numbers = [bucket_of(seconds) for seconds in (0, 0.0009, 0.001, 0.01, 1, 10, LONGEST * 0.999, LONGEST, 1e9)]

    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (0, BUCKETS - 1)
    assert quantile({0: 1}, 0.5) == SHORTEST
    assert quantile({BUCKETS - 1: 1}, 0.5) == LONGEST


def test_of_nothing_there_is_no_quantile() -> None:
    """A stretch of time without a request has a gap in the chart, and no zero."""
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None
