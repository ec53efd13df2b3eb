"""Moving everything to another Redis, so that it adds up on both sides, wherever that is cut short.

Messages go in parcels: a script takes some out of their place, with their count of accepted, into a parcel; another
lays them in their place in the new Redis, once for each parcel's name; and then it is deleted. The counts of what
has ended go the same way. Delivered votes, the notes of replays, revocations and an operator's hold are copied before,
and deleted at the end.

The new Redis may have another number of partitions. Then the messages of a parcel arrive in several, each of which
remembers the parcel's name; a vote goes where its digest belongs, as its request_id does; the counts of what has ended
go to the first partition, as no message is behind them; and every partition is given the notes of all: a row that has
gone, or never will, is told by its number alone, and is asked for in the one partition to which its event belongs now.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from producer.message import QUEUE
from producer.partitions import partition_of_digest
from worker.accounting.continuity import LAYOUT_FIELD, MOVING_FIELD
from worker.accounting.history.relocation import forget_sample, move_history
from worker.accounting.message_identity import request_id_in
from worker.accounting.snapshot import ONCE, snapshot_of
from worker.broker.destinations import Destinations
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import MESSAGE, QUEUES, REQUEUE
from worker.clients.redis.keys import feedback_keys, prefix_of
from worker.clients.redis.scripts import Script, lua
from worker.dead_letters.replays.queue import REPLAYS
from worker.delivery.dedup_buckets import DedupBuckets
from worker.delivery.hold import HoldKind
from worker.delivery.org_holds import read_org_holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from worker.clients.redis.partitions import Partitions

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


def move(source: Partitions, target: Partitions) -> Iterator[str]:
    """Move everything, and yield a message for each thing done. Cut short, it is done again from where it was.

    All clients answer in bytes.

    Raises:
        MoveRefused: Workers are at work in the old Redis, or both are the same.
        redis.RedisError: One of the two is unavailable, or refuses.
    """
    _refuse_the_same(source, target)
    if returned := sum(map(_return_what_the_dead_held, source)):
        yield f"messages that dead workers held went back to their queue: {returned:,}"
    yield f"remembered votes copied: {_copy_dedup(source, target):,}"
    _copy_notes(source, target)
    _copy_rest(source.home, target.home)
    for partitions in (source, target):
        partitions.home.hset(feedback_keys(partitions.home).counts, MOVING_FIELD, 1)
        forget_sample(partitions.home)
    yield f"messages moved: {_move_messages(source, target):,}"
    _move_counts(source, target)
    yield "counts moved"
    yield f"parts of the history moved: {move_history(source.home, target.home):,}"
    for client in source:
        _delete_copied(client)
    for partitions in (target, source):
        partitions.home.hdel(feedback_keys(partitions.home).counts, MOVING_FIELD)
    forget_sample(target.home)


def _refuse_the_same(source: Partitions, target: Partitions) -> None:
    mark = f"{feedback_keys(source.home).moving}:{secrets.token_hex(8)}"
    with source.of_key(mark.encode()) as here, target.of_key(mark.encode()) as there:
        here.set(mark, 1, ex=60)
        same = there.exists(mark)
        here.delete(mark)
    if same:
        raise MoveRefused("both are one and the same Redis: FEEDBACK_BROKER_URL must name the new one")


def _return_what_the_dead_held(source: redis.Redis) -> int:
    """Return what workers held whose lease has ended; there must be no others."""
    keys, returned = broker_keys(source), 0
    for holder in snapshot_of(source).holders:
        if holder.lease_left > timedelta():
            fix = "stop it; if it has died, wait until its lease ends"
            raise MoveRefused(f"the worker {holder.name} is alive in the old Redis: {fix}")
        own = [keys.unacked, keys.index, keys.leases, keys.held_prefix + holder.name]
        replies = Destinations(keys).run(REQUEUE, source, own, [0], before=[holder.name, "head", "1"])
        returned += sum(went_back for [went_back] in replies)
    if in_flight := snapshot_of(source).in_flight:
        fix = "stop plain Celery workers; `aquilax-feedback reconcile --repair` returns what no worker holds"
        raise MoveRefused(f"{in_flight:,} messages are in flight in the old Redis: {fix}")
    return returned


def _copy_dedup(source: Partitions, target: Partitions) -> int:
    """Copy the votes, each to the partition of its request_id, of which its key is the digest."""
    stores = [DedupBuckets(client, name=feedback_keys(client).dedup, ttl_ms=_NUMBER_KEPT_MS) for client in target]
    copied = 0
    for client in source:
        for bucket in _buckets(client):
            of_partition: dict[int, list[tuple[bytes, bytes]]] = {}
            for digest, vote in cast("dict[bytes, bytes]", client.hgetall(bucket)).items():
                of_partition.setdefault(partition_of_digest(digest, len(target)), []).append((digest, vote))
            for number, votes in of_partition.items():
                for start in range(0, len(votes), _COPIED_AT_ONCE):
                    copied += stores[number].copy(votes[start : start + _COPIED_AT_ONCE])
    for store in stores:
        store.close()
    return copied


def _copy_notes(source: Partitions, target: Partitions) -> None:
    """Copy which rows of replays have gone."""
    for number, client in enumerate(source):
        before = feedback_keys(client)
        for note in _notes(client):
            name, rows, left = note.removeprefix(before.prefix.encode()), client.smembers(note), client.pttl(note)
            for there in [target[number]] if len(source) == len(target) else target:
                copy = feedback_keys(there).prefix.encode() + name
                there.sadd(copy, *rows)
                if left > 0:
                    there.pexpire(copy, left)


def _copy_rest(source: redis.Redis, target: redis.Redis) -> None:
    """Copy what was revoked, and what operators hold; a key that is refused is found out again."""
    before, after = feedback_keys(source), feedback_keys(target)
    if revoked := cast("list[tuple[bytes, float]]", source.zrange(before.revoked, 0, -1, withscores=True)):
        target.zadd(after.revoked, dict(revoked))
    hold = source.hgetall(before.hold)
    if hold.get(b"kind") == HoldKind.OPERATOR.encode() and not target.exists(after.hold):
        target.hset(after.hold, mapping=cast("dict[Any, Any]", hold))
    by_scope = cast("dict[bytes, bytes]", source.hgetall(before.holds))
    for scope in (held.scope.encode() for held in read_org_holds(source) if held.state.by_hand):
        target.hsetnx(after.holds, scope, by_scope.get(scope, b""))


def _move_messages(source: Partitions, target: Partitions) -> int:
    moved = _move_queue(source.home, REPLAYS, target)
    return moved + sum(_move_queue(client, QUEUE, target) for client in source)


def _move_queue(source: redis.Redis, queue: str, target: Partitions) -> int:
    keys, parcel_key, moved = broker_keys(source), feedback_keys(source).moving, 0
    for name in keys.lists(queue):
        for place in (name + DELAYED, name):
            taken_from = [place, parcel_key, keys.counts_of(queue) or place]
            while parcel := _TAKE(source, taken_from, [_AT_ONCE, secrets.token_hex(16)]):
                moved += _arrive(target, parcel, prefix=prefix_of(source).encode())
                source.delete(parcel_key)
    return moved


def _arrive(target: Partitions, parcel: list[bytes], *, prefix: bytes) -> int:
    """Lay a parcel in its place, each message in its partition.

    Args:
        target: The new Redis.
        parcel: As `lua/take.lua` returns it.
        prefix: What stands before its place in the old Redis.
    """
    name, place, delayed, *messages = parcel
    place = place.removeprefix(prefix)
    is_counted = not place.startswith(REPLAYS.encode())
    of_partition: dict[int, list[bytes]] = {}
    for due, message in zip(messages[::2], messages[1::2], strict=True):
        request_id = request_id_in(message) if is_counted and len(target) > 1 else ""
        number = target.number_of(request_id) if request_id else 0
        of_partition.setdefault(number, []).extend((due, message))
    arrived = 0
    for number, those in of_partition.items():
        keys = feedback_keys(target[number])
        there = keys.prefix.encode() + place
        counts = keys.counts if is_counted else there
        arrived += int(_ARRIVE(target[number], [there, counts, keys.moved], [name, delayed, *those]))
    return arrived


def _move_counts(source: Partitions, target: Partitions) -> None:
    same = len(source) == len(target)
    for number, client in enumerate(source):
        before = feedback_keys(client)
        there = target[number] if same else target.home
        after = feedback_keys(there)
        taken_from, arguments = [before.counts, before.moving_counts], [secrets.token_hex(16), MOVING_FIELD]
        while flat := _TAKE_COUNTS(client, taken_from, arguments):
            counts = dict(zip(flat[::2], flat[1::2], strict=True))
            name = counts.pop(b"")
            if not same:
                counts = _with_next_layout(counts, is_home=number == 0)
            parts = [part for count in counts.items() for part in count]
            _ADD_COUNTS(there, [after.counts, after.moved], [name, *parts])
            client.delete(before.moving_counts)
            arguments = [secrets.token_hex(16), MOVING_FIELD]


def _with_next_layout(counts: dict[bytes, bytes], *, is_home: bool) -> dict[bytes, bytes]:
    """The counts as they go to the first partition of another number of them.

    Of the others it is not told which data they are. That there is another layout is, so that what the database knows
    of the old partitions is not taken for the new ones'.
    """
    if is_home:
        return counts | {LAYOUT_FIELD.encode(): b"%d" % (int(counts.get(LAYOUT_FIELD.encode(), b"0")) + 1)}
    return {name: number for name, number in counts.items() if name.decode(errors="replace") not in ONCE}


def _delete_copied(source: redis.Redis) -> None:
    keys = feedback_keys(source)
    for bucket in _buckets(source):
        source.delete(bucket)
    source.delete(keys.dedup, keys.revoked, keys.hold, keys.holds, broker_keys(source).pulse)
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
