"""Writes the history into Redis: a hash for each bucket, which expires by itself; each write is one step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from worker.accounting.history.fields import RESOLUTIONS
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import COUNT, Script, lua

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

    from worker.accounting.history.fields import Resolution

__all__ = ["Bucket", "add_buckets", "buckets_of", "write_counts", "write_sample"]

_ADD: Final = Script(COUNT + lua("worker.accounting.history", "buckets", "add"))
_SAMPLE: Final = Script(COUNT + lua("worker.accounting.history", "buckets", "sample"))

_REMEMBERED: Final = 3600
"""Seconds for which it is remembered what a writer has written: it tries again for as long at most."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is added to one bucket.

    Attributes:
        sums: What is added to each field.
        peaks: What each field has at least from then on.
    """

    sums: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)


Buckets = dict[tuple["Resolution", int], Bucket]
"""By the resolution, and when the bucket begins, in seconds since 1970."""


def buckets_of(minutes: Mapping[int, Mapping[str, int]]) -> Buckets:
    """Return what sums of minutes add to buckets of every resolution.

    Args:
        minutes: What was counted, by the field, by when the minute begins, in seconds since 1970.
    """
    buckets: Buckets = {}
    for start, counts in minutes.items():
        for resolution in RESOLUTIONS:
            buckets.setdefault((resolution, resolution.start_of(start)), Bucket()).sums.update(counts)
    return buckets


def write_counts(
    client: redis.Redis, minutes: Mapping[int, Mapping[str, int]], *, writer: str, number: int, now: float
) -> bool:
    """Add what a writer has counted; return whether it was not there yet.

    Args:
        client: The home partition's client.
        minutes: See `buckets_of`; at least one.
        writer: Who writes: a name that no other writer has.
        number: Which of its writings this is, from 1. One that may have arrived is sent again under the same number.
        now: Seconds since 1970.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    return add_buckets(client, buckets_of(minutes), writer=writer, number=number, since=min(minutes), now=now)


def add_buckets(client: redis.Redis, buckets: Buckets, *, writer: str, number: int, since: float, now: float) -> bool:
    """Add to buckets; see `write_counts`.

    Args:
        client: The home partition's client.
        buckets: What is added.
        writer: Who writes.
        number: Which of its writings this is.
        since: Since when there is a history, at the latest; seconds since 1970.
        now: Seconds since 1970.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    keys = feedback_keys(client)
    names, arguments = _written(client, buckets, now)
    own = [keys.history, keys.history_written + writer]
    return bool(_ADD(client, [*own, *names], [number, _REMEMBERED, int(since), *arguments]))


def write_sample(client: redis.Redis, buckets: Buckets, *, last: bytes, sample: bytes, now: float) -> bool:
    """Add a sample of the queue, unless another worker has; return whether it was added.

    Args:
        client: The home partition's client.
        buckets: What is added.
        last: The sample before, as it was read; empty for none.
        sample: This sample; empty if the next one can't go on from it.
        now: Seconds since 1970.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    names, arguments = _written(client, buckets, now)
    return bool(_SAMPLE(client, [feedback_keys(client).history, *names], [last, sample, int(now), *arguments]))


def _written(client: redis.Redis, buckets: Buckets, now: float) -> tuple[list[str], list[str | int]]:
    """The buckets' keys and arguments, as `lua/buckets.lua` reads them; of those that are not over."""
    keys = feedback_keys(client)
    names: list[str] = []
    arguments: list[str | int] = []
    for (resolution, start), bucket in buckets.items():
        kept = int(start + resolution.seconds + resolution.kept - now)
        if kept > 0:
            names.append(resolution.key(keys, start))
            arguments += [kept, len(bucket.sums), *(part for each in bucket.sums.items() for part in each)]
            arguments += [len(bucket.peaks), *(part for each in bucket.peaks.items() for part in each)]
    return names, arguments
