"""Behind a prefix that is a hash tag all keys of a queue lie in one slot; a cluster refuses scripts over several."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from producer.message import QUEUE, to_message
from tests.support.clusters import CLUSTER_PREFIX, RedisCluster, redis_cluster
from tests.support.dead_letter_records import an_event
from tests.support.places import foreign_message, places_of
from tests.support.processes import VALKEY, RedisServer
from worker.accounting.continuity import Kind, look_at_continuity, record
from worker.accounting.integrity import check, find_replays
from worker.accounting.key_types import find_odd_values, find_wrong_types
from worker.accounting.reconcile import reconcile
from worker.accounting.relocation import move
from worker.accounting.repair import repair_redis
from worker.accounting.scheduled import look_at_scheduled
from worker.accounting.snapshot import take_snapshot
from worker.accounting.strays import find_strays
from worker.accounting.worker_presence import living_leases
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import FETCH
from worker.clients.redis.connections import redis_client
from worker.clients.redis.keys import CountField, feedback_keys
from worker.clients.redis.partitions import Partitions
from worker.dead_letters.replays.queue import enqueue, say_watching, withhold, workers_watch
from worker.delivery.hold import Hold
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen
from worker.policy.classification import Classification
from worker.runtime.background_step import first_in_period

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from worker.dead_letters.store import DeadLetterStore


@pytest.fixture(scope="module")
def _node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of one node."""
    with redis_cluster(VALKEY, tmp_path_factory.mktemp("node"), primaries=1, replicas=False) as cluster:
        yield cluster


@pytest.fixture
def client(_node: RedisCluster) -> Iterator[redis.Redis]:
    """A client with the prefix, of an empty node; in the end every key that was written had it."""
    with closing(redis_client(_node.url, connections=4)) as client:
        client.flushall()
        yield client
        names = [bytes(name).decode() for name in client.scan_iter()]
        assert names
        assert [name for name in names if not name.startswith(CLUSTER_PREFIX)] == []


def in_flight(client: redis.Redis, number: int) -> list[str]:
    """Enqueue events and hand them over; return their delivery tags."""
    keys = broker_keys(client)
    client.lpush(keys.lists(QUEUE)[0], *(to_message(an_event()) for _ in range(number)))
    client.hincrby(feedback_keys(client).counts, CountField.ACCEPTED, number)
    lists = [
        part
        for name in keys.lists(QUEUE)
        for part in (name, name + DELAYED, keys.counts_of(QUEUE), keys.hold_of(QUEUE))
    ]
    own = [keys.unacked, keys.index, keys.leases, keys.held_prefix + "holder"]
    _, _, taken = FETCH(client, [*own, *lists], ["holder", 60_000, number, *[QUEUE, "1"] * len(keys.steps)])
    return [tag.decode() for _, tag, _, _ in taken]


def test_a_delivery(client: redis.Redis) -> None:
    """Claim, record, and the end of the message."""
    store = IdempotencyStore(client, ttl=timedelta(days=1), lease=timedelta(minutes=1))
    event, held = an_event(), broker_keys(client).held_prefix + "holder"
    first, second = in_flight(client, 2)

    claimed = store.claim(event, message_id="m1")
    assert isinstance(claimed, Claimed)
    store.record(event, claimed, message_id="m1", delivery_tag=first, held_in=held)
    assert store.has_delivered(event, message_id="m1")
    assert store.claim(event, message_id="m1") is Seen.SETTLED
    assert store.finish(second, CountField.DUPLICATE, held_in=held)
    later = replace(event, status=not event.status, occurred_at=event.occurred_at + timedelta(seconds=1))
    claimed = store.claim(later, message_id="m2")
    assert isinstance(claimed, Claimed)
    store.release(later, claimed, message_id="m2", count=CountField.RETRIED)

    snapshot = take_snapshot(Partitions([client]))
    assert snapshot.waiting == 0
    assert snapshot.balance.missing == 0
    assert store.counts()[CountField.RETRIED] == 1


def test_a_hold(client: redis.Redis) -> None:
    """By itself, by hand, and its end."""
    hold = Hold(client, actor="test")

    assert hold.heard(Classification.UNAUTHORIZED, "401", at=datetime.now(UTC))
    hold.hold("a release", actor="ann")
    state = take_snapshot(Partitions([client])).hold
    assert state == hold.state()
    assert state is not None
    assert state.by_hand
    assert hold.resume()
    hold.probe_soon()
    assert hold.resume()
    assert hold.state() is None


def test_a_replay(client: redis.Redis) -> None:
    """Each row goes once, and none that is withheld."""
    messages = {1: to_message(an_event(), priority=9), 2: to_message(an_event(), priority=9)}

    assert withhold(client, "r1", [2]) == frozenset()
    assert enqueue(client, "r1", messages) == {1}
    say_watching(client)
    assert workers_watch(client)
    assert take_snapshot(Partitions([client])).queued == 1


def test_a_check_and_a_repair(client: redis.Redis, sqlite_store: DeadLetterStore) -> None:
    """What no lease holds goes back to its queue."""
    keys = broker_keys(client)
    in_flight(client, 3)
    client.delete(keys.leases, keys.held_prefix + "holder", keys.index)

    report = reconcile(Partitions([client]), lambda: sqlite_store.engine, patience=timedelta())
    assert len(report.check.orphaned) == 3
    done = list(repair_redis(Partitions([client]), report))

    assert len(done) == 3
    assert take_snapshot(Partitions([client])).queued == 3
    assert check(client).hangs_together
    assert (find_wrong_types(client), [*find_odd_values(client)]) == ((), [])
    assert (
        living_leases(Partitions([client])),
        look_at_scheduled(Partitions([client])).total,
        find_replays(Partitions([client]), [1]),
    ) == ((), 0, frozenset())
    assert find_strays(Partitions([client]), within=10).lists == ()


def test_its_generation_is_known(client: redis.Redis, sqlite_store: DeadLetterStore) -> None:
    """To the database, with a hold by hand that Redis has lost."""
    Hold(client, actor="test").hold("a release", actor="ann")
    record(Partitions([client]), sqlite_store.engine)
    client.delete(feedback_keys(client).hold)
    client.hdel(feedback_keys(client).counts, "hold_changes")

    assert record(Partitions([client]), sqlite_store.engine).lost_hold is not None
    assert take_snapshot(Partitions([client])).hold is not None
    assert look_at_continuity(Partitions([client]), sqlite_store.engine).kind is Kind.SAME


def test_one_turn_for_the_fleet(client: redis.Redis) -> None:
    """Of what one worker does in a period."""
    key = feedback_keys(client).pruned

    assert [first_in_period(client, key, timedelta(minutes=1), worker=name) for name in "ab"] == [True, False]


def test_moving_there(client: redis.Redis, valkey: RedisServer) -> None:
    """From a Redis without a prefix: messages, counts, votes, the notes of replays, a hold by hand."""
    event = an_event()
    with places_of(valkey) as places:
        store = IdempotencyStore(places.client, ttl=timedelta(days=1), lease=timedelta(minutes=1))
        claimed = store.claim(event, message_id="m")
        assert isinstance(claimed, Claimed)
        store.record(event, claimed, message_id="m")
        places.enqueue(3)
        places.enqueue(1, priority=9)
        places.schedule(foreign_message())
        enqueue(places.client, "r1", {1: to_message(an_event(), priority=9)})
        Hold(places.client, actor="test").hold("a release", actor="ann")
        list(move(places.partitions, Partitions([client])))
        assert take_snapshot(places.partitions).waiting == 0

    after, there = (
        take_snapshot(Partitions([client])),
        IdempotencyStore(client, ttl=timedelta(days=1), lease=timedelta(minutes=1)),
    )
    assert (after.queued, after.scheduled, after.balance.accepted) == (5, 1, 5)
    assert after.hold is not None
    assert there.has_delivered(event, message_id="m")
    enqueue(client, "r1", {1: to_message(an_event(), priority=9)})
    assert take_snapshot(Partitions([client])).queued == 5
