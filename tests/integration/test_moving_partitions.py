"""Moving to another number of partitions: each message and each vote goes where its request_id belongs, once."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

import pytest

from producer.message import QUEUE
from tests.support.cut_short import cut_short
from tests.support.dead_letter_records import an_event
from tests.support.partitions import count, enqueue, message_of, opened, request_ids, take
from tests.support.places import LONG_FROM_NOW, foreign_message
from tests.support.processes import VALKEY, redis_server
from worker.accounting import relocation as moving
from worker.accounting.continuity import Kind, record
from worker.accounting.integrity import check
from worker.accounting.message_identity import request_id_in
from worker.accounting.relocation import move
from worker.accounting.snapshot import take_snapshot
from worker.broker.keys import DELAYED, broker_keys
from worker.clients.redis.keys import feedback_keys
from worker.dead_letters.replays.queue import enqueue as replay_rows
from worker.dead_letters.replays.queue import withhold
from worker.delivery.hold import Hold
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.store import DeadLetterStore

_Both: TypeAlias = "tuple[Partitions, Partitions]"

NUMBERS = [(1, 16), (16, 1), (3, 16), (16, 16)]


@pytest.fixture
def both(broker: RedisServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[_Both]:
    """The old Redis, filled, and the new one."""
    before, after = request.param
    with redis_server(VALKEY, tmp_path) as server, opened(broker.url, before) as old, opened(server.url, after) as new:
        _fill(old)
        yield old, new


def _fill(old: Partitions) -> None:
    names = request_ids(40)
    enqueue(old, *names)
    for number, client in enumerate(old):
        keys = broker_keys(client)
        count(client, accepted=20, delivered=15, dead=5, dead_letters_inserted=5)
        take(client, "host:1:dead.1:n", f"tag-{number}", until=1)
        client.zadd(keys.lists(QUEUE)[1] + DELAYED, {foreign_message(): LONG_FROM_NOW})
        client.sadd(feedback_keys(client).replay + "run", f"{number}", f"-{number + 100}")
    for name in names[:20]:
        store = _store(old.of(name))
        event = replace(an_event(), request_id=name)
        claimed = store.claim(event, message_id="m")
        assert isinstance(claimed, Claimed)
        store.record(event, claimed, message_id="m")
    Hold(old.home, actor="x").hold("a test", actor="me")


def _store(client: redis.Redis) -> IdempotencyStore:
    return IdempotencyStore(client, ttl=timedelta(days=1), lease=timedelta(minutes=1))


def equations(partitions: Partitions) -> Counter[str]:
    """The sum of all equations, each of which holds by itself."""
    total = Counter[str]()
    for client in partitions:
        found = check(client)
        assert found.hangs_together
        assert found.balance.missing == 0, found.balance.equation()
        total.update(found.balance.to_record())
    return total


def assert_everything_went(old: Partitions, new: Partitions, before: Counter[str]) -> None:
    """The new one has what the old one had, each message and each vote in its partition; the old one has nothing."""
    assert equations(new) == before | {"in_flight": 0, "queued": before["queued"] + before["in_flight"]}
    assert not old.home.keys("*feedback*")
    for number, client in enumerate(new):
        for name in broker_keys(client).lists(QUEUE):
            for message in [*client.lrange(name, 0, -1), *client.zrange(name + DELAYED, 0, -1)]:
                assert new.number_of(request_id_in(message)) == number
    new.home.delete(feedback_keys(new.home).hold)
    for at, name in enumerate(request_ids(40)):
        seen = _store(new.of(name)).claim(replace(an_event(), request_id=name), message_id="another")
        assert (seen is Seen.DUPLICATE) == (at < 20)


@pytest.mark.parametrize("both", NUMBERS, indirect=True)
def test_everything_goes_where_it_belongs(both: _Both) -> None:
    """Messages, votes, counts, the hold, and which rows of replays have gone."""
    old, new = both
    before = equations(old)

    said = list(move(old, new))

    assert f"messages moved: {before['queued'] + before['in_flight'] + before['scheduled']}" in said
    assert take_snapshot(new).hold is not None
    assert_everything_went(old, new, before)
    for number in range(len(old)):
        rows = {number: message_of(), number + 100: message_of()}
        partitions = [new[number]] if len(old) == len(new) else new
        for client in partitions:
            assert replay_rows(client, "run", rows) == {number}  # it has gone, the other one never will
        assert {row for client in new for row in withhold(client, "run", [number])} == {number}
    assert take_snapshot(new).queued == before["queued"] + before["in_flight"]


@pytest.mark.parametrize("both", [(3, 16)], indirect=True)
@pytest.mark.parametrize("cut_at", [1, 2, 3, 5, 8, 13, 21, 30, 40, 45])
def test_cut_short_it_goes_on_where_it_was(both: _Both, monkeypatch: pytest.MonkeyPatch, cut_at: int) -> None:
    """Also between two partitions of one parcel: every equation holds on both sides, and nothing is there twice."""
    old, new = both
    before = equations(old)
    monkeypatch.setattr(moving, "_AT_ONCE", 10)

    with cut_short(monkeypatch, moving, ("_TAKE", "_ARRIVE", "_TAKE_COUNTS", "_ADD_COUNTS"), at=cut_at):
        list(move(old, new))
    equations(old), equations(new)

    list(move(old, new))

    assert_everything_went(old, new, before)


@pytest.mark.parametrize("both", NUMBERS, indirect=True)
def test_what_the_database_knows_goes_on(both: _Both, sqlite_store: DeadLetterStore) -> None:
    """Neither the move nor a move back is taken for a loss, though the new partitions have counted less."""
    old, new = both
    with closing(sqlite_store):
        engine = sqlite_store.engine
        record(old, engine), record(old, engine)
        list(move(old, new))
        assert record(new, engine).kind is Kind.SAME
        assert record(new, engine).kind is Kind.SAME
        list(move(new, old))

        assert record(old, engine).kind is Kind.SAME
        assert record(old, engine).lost == ()
        client = old[len(old) - 1]
        client.delete(feedback_keys(client).counts)
        assert record(old, engine).is_lost
