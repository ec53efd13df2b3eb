"""Takes the history along to another Redis: each bucket is added to what is there, once, wherever that is cut short."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import TYPE_CHECKING, cast

from worker.accounting.history.fields import PEAKS, RESOLUTIONS, read_fields
from worker.accounting.history.store import Bucket, add_buckets
from worker.clients.redis.keys import feedback_keys

if TYPE_CHECKING:
    import redis

__all__ = ["forget_sample", "move_history"]

_MOVED_AS = "moved_as"
"""The field of the history's hash with the name under which it is added to the new one."""


def forget_sample(client: redis.Redis) -> None:
    """Let the next sample begin again, as what is moved was not accepted now; raises `redis.RedisError`."""
    client.hdel(feedback_keys(client).history, "sample")


def move_history(source: redis.Redis, target: redis.Redis) -> int:
    """Move every bucket, and return how many there were. Both clients are those of the home partitions.

    Raises:
        redis.RedisError: One of the two is unavailable, or refuses.
    """
    keys, moved = feedback_keys(source), 0
    source.hsetnx(keys.history, _MOVED_AS, secrets.token_hex(8))
    name, since = (cast("bytes", text or b"") for text in source.hmget(keys.history, _MOVED_AS, "since"))
    now = target.time()[0]
    for resolution in RESOLUTIONS:
        before = keys.history_of[resolution.name]
        for key in cast("list[bytes]", list(source.scan_iter(match=f"{before}*", count=1000, _type="hash"))):
            number = key.removeprefix(before.encode())
            if number.isdigit():
                bucket = _bucket(source, key)
                writer = f"{name.decode()}:{resolution.name}:{number.decode()}"
                start = int(number) * resolution.seconds
                began = int(since) if since.isdigit() else start
                add_buckets(target, {(resolution, start): bucket}, writer=writer, number=1, since=began, now=now)
                moved += 1
            source.delete(key)
    written = source.scan_iter(match=f"{keys.history_written}*", count=1000, _type="string")
    source.delete(keys.history, keys.history_sampled, *written)
    return moved


def _bucket(source: redis.Redis, key: bytes) -> Bucket:
    counts = read_fields(cast("dict[bytes, bytes]", source.hgetall(key)))
    sums = Counter({name: number for name, number in counts.items() if name not in PEAKS})
    return Bucket(sums, {name: number for name, number in counts.items() if name in PEAKS})
