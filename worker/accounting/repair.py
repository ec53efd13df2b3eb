"""Repairs what a reconciliation found, and only that; each repair says what it did.

Every function here takes clients that answer in bytes, and raises `redis.RedisError` if Redis is unavailable or
refuses.
What was yielded is done; run it again for the rest.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from redis.exceptions import RedisError

from producer.message import QUEUE
from worker.accounting.holders import held_keys, with_holders
from worker.accounting.snapshot import text_of
from worker.accounting.strays import move_home
from worker.accounting.table_counts import put_back_to_dead
from worker.broker.destinations import Destinations
from worker.broker.keys import broker_keys
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.keys import CountField, feedback_keys
from worker.clients.redis.partitions import shown_partition
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis
    from sqlalchemy import Engine

    from worker.accounting.integrity import IntegrityCheck
    from worker.accounting.reconcile import Report
    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["INSERTED_BOOKED", "SURPLUS_BOOKED", "note_told", "repair_redis", "repair_table", "written_off_untold"]

_RETURN: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "entries", "return"))
_DROP: Final = Script(lua("worker.accounting", "drop"))
_BOOK: Final = Script(lua("worker.accounting", "book"))

SURPLUS_BOOKED: Final = f"booked:{CountField.ACCEPTED}"
INSERTED_BOOKED: Final = f"booked:{CountField.DEAD_LETTERS_INSERTED}"
"""Counts that tell by how much others were corrected. Of two repairs at once, one sees that it comes too late."""

_FEW: Final = 1000
"""Delivery tags in one script."""


def repair_redis(partitions: Partitions, report: Report) -> Iterator[str]:
    """Repair what is wrong in Redis, each in the partition that it is in, and yield a message for each repair."""
    for number, found in enumerate(report.checks):
        where = f"partition {shown_partition(number)}: " if len(report.checks) > 1 else ""
        yield from (where + text for text in _repair(partitions[number], found))
    for stray in report.strays.lists:
        if not stray.is_parcel and (moved := move_home(partitions, stray)):
            yield f"moved to the queue from the list {stray.name!r}: {moved:,}"
    if report.balances is False and not report.is_lost:  # what is carried on after a loss makes it balance
        for number, found in report.unbalanced:
            where = f" in partition {shown_partition(number)}" if len(report.checks) > 1 else ""
            yield from _book_balance(partitions[number], found, where)


def _repair(client: redis.Redis, found: IntegrityCheck) -> Iterator[str]:
    names = {tag: f"message {text_of(tag)} of request_id {name or 'unknown'}" for tag, name in found.orphaned.items()}
    names |= {tag: f"the unreadable message {text_of(tag)}" for tag in found.unreadable}
    for tag in _return(client, list(names)):
        yield f"returned {names[tag]} to its queue"
    yield from _drop_all(client, found)


def _return(client: redis.Redis, tags: list[bytes]) -> Iterator[bytes]:
    """Return what is in flight under no lease to its queue, and yield the delivery tags of those that went."""
    for few in _few(tags):
        yield from _return_few(client, few)


def _return_few(client: redis.Redis, tags: list[bytes]) -> list[bytes]:
    keys, returned = broker_keys(client), list[bytes]()
    destinations = Destinations(keys)

    def ask(names: Sequence[bytes]) -> list[list[bytes]]:
        own = [keys.unacked, keys.index, keys.leases, keys.lists(QUEUE)[0]]
        declared: list[str | bytes] = [*own, *held_keys(keys, names)]
        replies = destinations.run(_RETURN, client, declared, tags, before=[len(names), *names])
        for _, went_back in replies:
            returned.extend(went_back)
        return [next((others for others, _ in replies if others), [])]

    with_holders(ask)
    return returned


def _drop_all(client: redis.Redis, found: IntegrityCheck) -> Iterator[str]:
    keys = broker_keys(client)
    gone = {keys.index.encode(): list(found.index)}
    for lease, tag in found.held:
        gone.setdefault(keys.held_prefix.encode() + lease, []).append(tag)
    for key, tags in gone.items():
        if dropped := sum(int(_DROP(client, [keys.unacked, key], few)) for few in _few(tags)):
            yield f"dropped from {text_of(key)} what is not in flight: {dropped:,}"


def _book_balance(client: redis.Redis, found: IntegrityCheck, where: str) -> Iterator[str]:
    """Write off what is missing, or accept what is too much: then the equation holds, and tells of the next loss."""
    missing, counts = found.balance.missing, found.snapshot.counts
    if not found.exact:
        return
    if missing > 0:
        field = CountField.WRITTEN_OFF
        if _book(client, field, missing, tell=(field, counts.get(field, 0))):
            yield f"wrote off missing messages{where}: {missing:,}"
    elif _book(client, CountField.ACCEPTED, -missing, tell=(SURPLUS_BOOKED, counts.get(SURPLUS_BOOKED, 0))):
        yield f"counted surplus messages{where} as accepted: {-missing:,}"


def repair_table(partitions: Partitions, engine: Engine, report: Report) -> Iterator[str]:
    """Repair what is wrong between Redis and the dead-letter table, and yield a message for each repair.

    Dead letters that are gone can't be told apart by their partition: they are taken from the first one's count.

    Raises:
        DeadLetterStoreUnavailable: The database is unavailable, or refuses; run it again.
    """
    for row_id in put_back_to_dead(engine, report.stuck):
        yield f"put dead letter {row_id} back to dead: its replay was nowhere to be found"
    if (missing := report.rows_missing) > 0:
        told = (INSERTED_BOOKED, report.checks[0].snapshot.counts.get(INSERTED_BOOKED, 0))
        if _book(partitions.home, CountField.DEAD_LETTERS_INSERTED, -missing, tell=told):
            yield f"wrote off dead letters that are not in the table any more: {missing:,}"


def _book(client: redis.Redis, field: str, by: int, *, tell: tuple[str, int]) -> bool:
    told_in, was = tell
    return bool(_BOOK(client, [feedback_keys(client).counts], [field, by, told_in, was]))


def _few(tags: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(tags), _FEW):
        yield tags[start : start + _FEW]


def note_told(partitions: Partitions, seen: Snapshot) -> None:
    """Note that a reconciliation has named what was written off so far. A login that may only read notes nothing."""
    numbers = _written_off(seen)
    with suppress(RedisError):
        key = feedback_keys(partitions.home).told
        if any(numbers.values()) or partitions.home.exists(key):
            partitions.home.hset(key, mapping=cast("dict[Any, Any]", numbers))


def written_off_untold(partitions: Partitions, now: Snapshot) -> int:
    """Return how many events were written off that no reconciliation has named yet."""
    numbers = _written_off(now)
    told = partitions.home.hmget(feedback_keys(partitions.home).told, list(numbers))
    before = [int(number) if isinstance(number, bytes) and number.isdigit() else 0 for number in told]
    return sum(max(number - known, 0) for number, known in zip(numbers.values(), before, strict=True))


def _written_off(now: Snapshot) -> dict[str, int]:
    """How many were written off, by the field that tells of it: one for each partition, or for the only one."""
    if not now.parts:
        return {CountField.WRITTEN_OFF.value: now.counts.get(CountField.WRITTEN_OFF, 0)}
    return {
        f"{CountField.WRITTEN_OFF}:{shown_partition(part.number)}": part.snapshot.counts.get(CountField.WRITTEN_OFF, 0)
        for part in now.parts
        if part.snapshot is not None
    }
