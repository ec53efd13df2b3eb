"""Repairs what a reconciliation found, and only that; each repair says what it did.

Every function here takes a client that answers in bytes, and raises `redis.RedisError` if Redis is unavailable or
refuses.
What was yielded is done; run it again for the rest.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

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
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis
    from sqlalchemy import Engine

    from worker.accounting.integrity import IntegrityCheck
    from worker.accounting.reconcile import Report
    from worker.accounting.snapshot import Snapshot

__all__ = ["INSERTED_BOOKED", "SURPLUS_BOOKED", "note_told", "repair_redis", "repair_table", "written_off_untold"]

_RETURN: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "entries", "return"))
_DROP: Final = Script(lua("worker.accounting", "drop"))
_BOOK: Final = Script(lua("worker.accounting", "book"))

SURPLUS_BOOKED: Final = f"booked:{CountField.ACCEPTED}"
INSERTED_BOOKED: Final = f"booked:{CountField.DEAD_LETTERS_INSERTED}"
"""Counts that tell by how much others were corrected. Of two repairs at once, one sees that it comes too late."""

_FEW: Final = 1000
"""Delivery tags in one script."""


def repair_redis(client: redis.Redis, report: Report) -> Iterator[str]:
    """Repair what is wrong in Redis, and yield a message for each repair."""
    found = report.check
    names = {tag: f"message {text_of(tag)} of request_id {name or 'unknown'}" for tag, name in found.orphaned.items()}
    names |= {tag: f"the unreadable message {text_of(tag)}" for tag in found.unreadable}
    for tag in _return(client, list(names)):
        yield f"returned {names[tag]} to its queue"
    yield from _drop_all(client, found)
    for stray in report.strays.lists:
        if not stray.is_parcel and (moved := move_home(client, stray)):
            yield f"moved to the queue from the list {stray.name!r}: {moved:,}"
    yield from _book_balance(client, report)


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


def _book_balance(client: redis.Redis, report: Report) -> Iterator[str]:
    """Write off what is missing, or accept what is too much: then the equation holds, and tells of the next loss."""
    missing, counts = report.balance.missing, report.check.snapshot.counts
    if report.balances is not False or report.is_lost:
        return  # what is carried on after a loss makes it balance
    if missing > 0:
        field = CountField.WRITTEN_OFF
        if _book(client, field, missing, tell=(field, counts.get(field, 0))):
            yield f"wrote off missing messages: {missing:,}"
    elif _book(client, CountField.ACCEPTED, -missing, tell=(SURPLUS_BOOKED, counts.get(SURPLUS_BOOKED, 0))):
        yield f"counted surplus messages as accepted: {-missing:,}"


def repair_table(client: redis.Redis, engine: Engine, report: Report) -> Iterator[str]:
    """Repair what is wrong between Redis and the dead-letter table, and yield a message for each repair.

    Raises:
        DeadLetterStoreUnavailable: The database is unavailable, or refuses; run it again.
    """
    for row_id in put_back_to_dead(engine, report.stuck):
        yield f"put dead letter {row_id} back to dead: its replay was nowhere to be found"
    if (missing := report.rows_missing) > 0:
        told = (INSERTED_BOOKED, report.check.snapshot.counts.get(INSERTED_BOOKED, 0))
        if _book(client, CountField.DEAD_LETTERS_INSERTED, -missing, tell=told):
            yield f"wrote off dead letters that are not in the table any more: {missing:,}"


def _book(client: redis.Redis, field: str, by: int, *, tell: tuple[str, int]) -> bool:
    told_in, was = tell
    return bool(_BOOK(client, [feedback_keys(client).counts], [field, by, told_in, was]))


def _few(tags: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(tags), _FEW):
        yield tags[start : start + _FEW]


def note_told(client: redis.Redis, seen: Snapshot) -> None:
    """Note that a reconciliation has named what was written off so far. A login that may only read notes nothing."""
    number = seen.counts.get(CountField.WRITTEN_OFF, 0)
    with suppress(RedisError):
        key = feedback_keys(client).told
        if number or client.exists(key):
            client.hset(key, CountField.WRITTEN_OFF, number)


def written_off_untold(client: redis.Redis, now: Snapshot) -> int:
    """Return how many events were written off that no reconciliation has named yet."""
    told = client.hget(feedback_keys(client).told, CountField.WRITTEN_OFF)
    number = int(told) if isinstance(told, bytes) and told.isdigit() else 0
    return max(now.counts.get(CountField.WRITTEN_OFF, 0) - number, 0)
