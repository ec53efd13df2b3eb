"""Moving everything to another Redis, so that it adds up on both sides, wherever that is cut short.

Messages go in parcels: a script takes some out of their place, with their count of accepted, into a parcel; another
lays them in their place in the new Redis, once for each parcel's name; and then it is deleted. The counts of what
has ended go the same way. Delivered votes, the notes of replays, revocations and an operator's hold are copied before,
and deleted at the end.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from producer.message import QUEUE
from worker.accounting.continuity import MOVING_FIELD
from worker.accounting.snapshot import take_snapshot
from worker.broker.destinations import Destinations
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import MESSAGE, QUEUES, REQUEUE
from worker.clients.redis.keys import feedback_keys, prefix_of
from worker.clients.redis.scripts import Script, lua
from worker.dead_letters.replays.queue import REPLAYS
from worker.delivery.dedup_buckets import DedupBuckets
from worker.delivery.hold import HoldKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

__all__ = ["MoveRefused", "move"]

_AT_ONCE: Final = 500
_COPIED_AT_ONCE: Final = 100
_NUMBER_KEPT_MS: Final = 24 * 3600 * 1000
"""How long a number of buckets is kept while no vote follows."""

_TAKE: Final = Script(MESSAGE + lua("worker.accounting", "take"))
_ARRIVE: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "arrive"))
_TAKE_COUNTS: Final = Script(lua("worker.accounting", "take_counts"))
_ADD_COUNTS: Final = Script(lua("worker.accounting", "add_counts"))


class MoveRefused(Exception):
    """It can't be moved as things are; the message says why, and what to do."""


def move(source: redis.Redis, target: redis.Redis) -> Iterator[str]:
    """Move everything, and yield a message for each thing done. Cut short, it is done again from where it was.

    Both clients answer in bytes.

    Raises:
        MoveRefused: Workers are at work in the old Redis, or both are the same.
        redis.RedisError: One of the two is unavailable, or refuses.
    """
    _refuse_the_same(source, target)
    if returned := _return_what_the_dead_held(source):
        yield f"messages that dead workers held went back to their queue: {returned:,}"
    yield f"remembered votes copied: {_copy_dedup(source, target):,}"
    _copy_rest(source, target)
    for client in (source, target):
        client.hset(feedback_keys(client).counts, MOVING_FIELD, 1)
    yield f"messages moved: {_move_messages(source, target):,}"
    _move_counts(source, target)
    yield "counts moved"
    _delete_copied(source)
    for client in (target, source):
        client.hdel(feedback_keys(client).counts, MOVING_FIELD)


def _refuse_the_same(source: redis.Redis, target: redis.Redis) -> None:
    mark = f"{feedback_keys(source).moving}:{secrets.token_hex(8)}"
    source.set(mark, 1, ex=60)
    same = target.exists(mark)
    source.delete(mark)
    if same:
        raise MoveRefused("both are one and the same Redis: FEEDBACK_BROKER_URL must name the new one")


def _return_what_the_dead_held(source: redis.Redis) -> int:
    """Return what workers held whose lease has ended; there must be no others."""
    keys, returned = broker_keys(source), 0
    for holder in take_snapshot(source).holders:
        if holder.lease_left > timedelta():
            fix = "stop it; if it has died, wait until its lease ends"
            raise MoveRefused(f"the worker {holder.name} is alive in the old Redis: {fix}")
        own = [keys.unacked, keys.index, keys.leases, keys.held_prefix + holder.name]
        replies = Destinations(keys).run(REQUEUE, source, own, [0], before=[holder.name, "head", "1"])
        returned += sum(went_back for [went_back] in replies)
    if in_flight := take_snapshot(source).in_flight:
        fix = "stop plain Celery workers; `aquilax-feedback reconcile --repair` returns what no worker holds"
        raise MoveRefused(f"{in_flight:,} messages are in flight in the old Redis: {fix}")
    return returned


def _copy_dedup(source: redis.Redis, target: redis.Redis) -> int:
    copied, buckets = 0, DedupBuckets(target, name=feedback_keys(target).dedup, ttl_ms=_NUMBER_KEPT_MS)
    for bucket in _buckets(source):
        votes = list(cast("dict[bytes, bytes]", source.hgetall(bucket)).items())
        for start in range(0, len(votes), _COPIED_AT_ONCE):
            copied += buckets.copy(votes[start : start + _COPIED_AT_ONCE])
    buckets.close()
    return copied


def _copy_rest(source: redis.Redis, target: redis.Redis) -> None:
    """Which rows of replays have gone, what was revoked, and what an operator holds."""
    before, after = feedback_keys(source), feedback_keys(target)
    for note in _notes(source):
        there = after.prefix.encode() + note.removeprefix(before.prefix.encode())
        target.sadd(there, *source.smembers(note))
        if (left := source.pttl(note)) > 0:
            target.pexpire(there, left)
    if revoked := cast("list[tuple[bytes, float]]", source.zrange(before.revoked, 0, -1, withscores=True)):
        target.zadd(after.revoked, dict(revoked))
    hold = source.hgetall(before.hold)
    if hold.get(b"kind") == HoldKind.OPERATOR.encode() and not target.exists(after.hold):
        target.hset(after.hold, mapping=cast("dict[Any, Any]", hold))


def _move_messages(source: redis.Redis, target: redis.Redis) -> int:
    keys, parcel_key, moved = broker_keys(source), feedback_keys(source).moving, 0
    for queue in (QUEUE, REPLAYS):
        for name in keys.lists(queue):
            for place in (name + DELAYED, name):
                taken_from = [place, parcel_key, keys.counts_of(queue) or place]
                while parcel := _TAKE(source, taken_from, [_AT_ONCE, secrets.token_hex(16)]):
                    moved += _arrive(target, parcel, prefix=prefix_of(source).encode())
                    source.delete(parcel_key)
    return moved


def _arrive(target: redis.Redis, parcel: list[bytes], *, prefix: bytes) -> int:
    """Lay a parcel in its place; ``prefix`` is what stands before its place in the old Redis."""
    name, place, delayed, *messages = parcel
    keys, place = feedback_keys(target), place.removeprefix(prefix)
    there = keys.prefix.encode() + place
    counts = there if place.startswith(REPLAYS.encode()) else keys.counts
    return int(_ARRIVE(target, [there, counts, keys.moved], [name, delayed, *messages]))


def _move_counts(source: redis.Redis, target: redis.Redis) -> None:
    before, after = feedback_keys(source), feedback_keys(target)
    while flat := _TAKE_COUNTS(source, [before.counts, before.moving_counts], [secrets.token_hex(16), MOVING_FIELD]):
        counts = dict(zip(flat[::2], flat[1::2], strict=True))
        name = counts.pop(b"")
        parts = [part for count in counts.items() for part in count]
        _ADD_COUNTS(target, [after.counts, after.moved], [name, *parts])
        source.delete(before.moving_counts)


def _delete_copied(source: redis.Redis) -> None:
    keys = feedback_keys(source)
    for bucket in _buckets(source):
        source.delete(bucket)
    source.delete(keys.dedup, keys.revoked, keys.hold, broker_keys(source).pulse)
    for note in _notes(source):
        source.delete(note)


def _buckets(source: redis.Redis) -> Iterator[bytes]:
    """The hashes of remembered votes."""
    return _with_name(source, f"{feedback_keys(source).dedup}:", kind="hash")


def _notes(source: redis.Redis) -> Iterator[bytes]:
    """The sets of the rows of replays that have gone."""
    return _with_name(source, feedback_keys(source).replay, kind="set")


def _with_name(source: redis.Redis, beginning: str, *, kind: str) -> Iterator[bytes]:
    return cast("Iterator[bytes]", source.scan_iter(match=f"{beginning}*", count=1000, _type=kind))
