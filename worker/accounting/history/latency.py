"""How long AquilaX took, as a fixed histogram: those of several workers, or minutes, add up bucket by bucket.

Each bucket's upper end is `GROWTH` times its lower one, from 1 ms to 65.5 s, so a quantile is off by at most
`RELATIVE_ERROR` of itself, 8.7 %, wherever it lies. What took less than 1 ms counts as 1 ms, and what took longer than
65.5 s as 65.5 s: FEEDBACK_REQUEST_TIMEOUT ends a request long before, by default after 10 s.
"""

from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUCKETS", "GROWTH", "LONGEST", "RELATIVE_ERROR", "SHORTEST", "bucket_of", "quantile"]

_PER_DOUBLING: Final = 4
_DOUBLINGS: Final = 16

GROWTH: Final = 2 ** (1 / _PER_DOUBLING)

RELATIVE_ERROR: Final = (GROWTH - 1) / (GROWTH + 1)
"""Of what `quantile` returns, against the true value: the estimate has the same relative distance to both ends."""

SHORTEST: Final = 0.001
"""Seconds up to which everything is in the first bucket."""

LONGEST: Final = SHORTEST * 2**_DOUBLINGS
"""Seconds from which on everything is in the last bucket."""

BUCKETS: Final = _PER_DOUBLING * _DOUBLINGS + 2


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket, from 0, in which a duration is counted."""
    if seconds < SHORTEST:
        return 0
    return 1 + int(log2(seconds / SHORTEST) * _PER_DOUBLING) if seconds < LONGEST else BUCKETS - 1


def quantile(counts: Mapping[int, int], fraction: float) -> float | None:
    """Return how many seconds a fraction of all requests took at most; None if there were none.

    Args:
        counts: How many are in each bucket, by its number.
        fraction: 0.5 for the median.
    """
    rank = ceil(sum(counts.values()) * fraction)
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0 and counts[bucket]:
            return _estimate(bucket)
    return None


def _estimate(bucket: int) -> float:
    if bucket <= 0:
        return SHORTEST
    if bucket >= BUCKETS - 1:
        return LONGEST
    lower: float = SHORTEST * GROWTH ** (bucket - 1)
    return 2 * lower * GROWTH / (1 + GROWTH)
