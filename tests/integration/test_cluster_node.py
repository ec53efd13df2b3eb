"""Every script runs on a server in cluster mode, where all its keys have to be in one slot, and be declared.

`#!lua` before a script lets the server refuse an undeclared key of another slot; without it, it takes any key of its
own. All slots are this one node's, and every key stands behind one hash tag.
"""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from typing import TYPE_CHECKING, Final

import pytest

from producer import FeedbackProducer
from producer.message import QUEUE, to_message
from tests.support.clusters import redis_cluster
from tests.support.dead_letter_records import an_event
from tests.support.places import Places, request_id_of
from tests.support.processes import VALKEY, RedisServer, need
from tests.support.scripts import all_scripts, watching_keys
from tests.support.tagged_redis import TaggedRedis
from worker.accounting import continuity
from worker.accounting.backlog import take_backlog
from worker.accounting.history.store import buckets_of, write_counts, write_sample
from worker.accounting.integrity import check
from worker.accounting.message_search import search_messages
from worker.accounting.reconcile import Report
from worker.accounting.relocation import move
from worker.accounting.repair import repair_redis
from worker.accounting.scheduled import look_at_scheduled
from worker.accounting.snapshot import take_snapshot
from worker.accounting.strays import copy_to_partition, find_strays
from worker.broker.keys import DELAYED, KEYS
from worker.broker.lease_scripts import LeaseScripts
from worker.broker.redelivery import Republished, publish_instead
from worker.broker.scripts import FETCH, PURGE
from worker.broker.set_aside import give_back, give_one_back, moment_of
from worker.clients.aquilax.keys import KeyRing
from worker.clients.redis.keys import CountField, FeedbackKeys
from worker.clients.redis.partitions import Partitions
from worker.dead_letters.replays.queue import enqueue, withhold
from worker.delivery.hold import Hold
from worker.delivery.hold_mirrors import HoldMirrors
from worker.delivery.idempotency import Claimed, IdempotencyStore, Seen
from worker.delivery.org_holds import OrgHolds, org_scope, read_org_holds
from worker.delivery.revocations import Revocations, Searched, criteria_of_ids
from worker.gateway.idempotency_keys import _KeyClaim
from worker.notifications.state import NotifierState
from worker.notifications.store import NotifierStore
from worker.operations.waiting.moves import Ending, Replacement, end, send
from worker.policy.classification import Classification, Response
from worker.policy.envelope import Envelope
from worker.policy.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG: Final = b"{feedback:00.23}"
OTHER_TAG: Final = b"{feedback:01.20}"
LEASE: Final = 60_000
OURS: Final = FeedbackKeys()
OTHER_QUEUE: Final = "orders"
NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


@contextmanager
def _node(binary: str, folder: Path) -> Iterator[RedisServer]:
    with redis_cluster(binary, folder, primaries=1, replicas=False) as cluster:
        yield cluster.servers[0]


@pytest.fixture(params=["valkey", "redis"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A cluster of one node: a Valkey, then a Redis."""
    with _node(VALKEY if request.param == "valkey" else need("redis-server"), tmp_path) as server:
        yield server


@pytest.fixture
def client(node: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaggedRedis]:
    """A client whose keys are in one slot, and scripts of which the server sees to that."""
    for script in set(all_scripts().values()):
        source = f"#!lua\n{script.source}"
        monkeypatch.setattr(script, "source", source)
        monkeypatch.setattr(script, "sha", sha1(source.encode(), usedforsecurity=False).hexdigest())
    with watching_keys(node.port), closing(TaggedRedis(node.port, TAG)) as client:
        yield client


def _lease(client: TaggedRedis, holder: str) -> LeaseScripts:
    scripts = LeaseScripts(client.connection_pool, KEYS, name=holder, lease_ms=LEASE)
    scripts._client = client
    return scripts


def _fetch(client: TaggedRedis, holder: str, number: int, *queues: str) -> list[str]:
    lists = [
        (queue, (name, name + DELAYED, KEYS.counts_of(queue) or KEYS.unacked, KEYS.hold_of(queue) or KEYS.unacked))
        for queue in queues
        for name in KEYS.lists(queue)
    ]
    own = [KEYS.unacked, KEYS.index, KEYS.leases, KEYS.held_prefix + holder]
    keys = [*own, *(key for _, four in lists for key in four)]
    _, _, taken = FETCH(client, keys, [holder, LEASE, number, *(part for queue, _ in lists for part in (queue, "1"))])
    return [tag.decode() for _, tag, _, _ in taken]


def _broker(client: TaggedRedis, places: Places) -> None:
    """Messages of our queue and of another are fetched, end, wait, go back, and outlive their worker."""
    places.enqueue(8)
    client.lpush(f"{OTHER_QUEUE}{KEYS.sep}3", to_message(an_event(), queue=OTHER_QUEUE))
    own = _lease(client, "host:1:a")
    own.heartbeat()
    tags = _fetch(client, "host:1:a", 20, QUEUE, OTHER_QUEUE)
    assert len(tags) == 10
    own.end({tags[0]: "delivered", tags[1]: ""})
    own.schedule({tags[2]: "+60000"})
    assert own.requeue(tags[3:5], end="back") == 2
    republished = Republished(tags[5], own.held_key)
    assert publish_instead(client, KEYS, QUEUE, to_message(an_event()).decode(), due=None, instead_of=republished)
    client.zadd(KEYS.leases, {"host:1:a": 1})
    client.hset(KEYS.pulse, mapping={"at": int(client.time()[0]) * 1000, "grace": 0})
    heir = _lease(client, "host:2:b")
    _, dead = heir.heartbeat()
    assert heir.reclaim(dead) == (4, ["host:1:a"])
    assert client.llen(f"{OTHER_QUEUE}{KEYS.sep}3") + client.llen(OTHER_QUEUE) == 1
    left = [key for name in KEYS.lists(OTHER_QUEUE) for key in (name, name + DELAYED)]
    assert PURGE(client, [left[0], *left], [10]) == 1


def _deliveries(client: TaggedRedis, places: Places) -> None:
    """Events are claimed, recorded, released and finished, while buckets are split; and are held and revoked."""
    with closing(IdempotencyStore(client, ttl=timedelta(days=1), lease=timedelta(seconds=40))) as store:
        events = [an_event() for _ in range(200)]
        for event in events:
            claim = store.claim(event, message_id="m")
            assert isinstance(claim, Claimed)
            store.record(event, claim, message_id="m")
        assert int(client.get("feedback:dedup") or 0) > 2
        assert {store.claim(event, message_id="m") for event in events} == {Seen.SETTLED}
        assert all(store.has_delivered(event, message_id="m") for event in events)
        claim = store.claim(an_event(), message_id="other")
        assert isinstance(claim, Claimed)
        store.release(an_event(), claim, message_id="other")
        [tag, *_] = _fetch(client, "host:2:b", 3, QUEUE)
        assert store.finish(tag, CountField.STALE, held_in=f"{KEYS.held_prefix}host:2:b")
    hold = Hold(client, actor="me")
    assert hold.heard(Classification.UNAUTHORIZED, "401", at=NOON)
    hold.probe_soon()
    hold.hold("by hand", actor="me")
    assert hold.resume()
    hold.heard(Classification.DELIVERED, "200", at=NOON, probe=True)
    _mirror_a_hold(client)
    places.enqueue(1)
    revocations = Revocations()
    revocations.connect([Searched(lambda: client, KEYS)])
    revocations.revoke(criteria_of_ids(["no such task"]), on_ended=lambda _: None)


def _mirror_a_hold(client: TaggedRedis) -> None:
    """A hold is mirrored into another partition that has messages, which is lent a probe; and ends."""
    hold = Hold(client, actor="me")
    with closing(TaggedRedis(client.connection_pool.connection_kwargs["port"], b"{other}")) as other:
        mirrors = HoldMirrors(Partitions([client, other]))
        hold.heard(Classification.UNAUTHORIZED, "401", at=NOON)
        mirrors.follow(mirrors.state())
        other.lpush(QUEUE, "a message")
        client.hset("feedback:hold", "probe_at", 1)
        assert mirrors.lend_probe()
        assert hold.resume()
        mirrors.follow(mirrors.state())
        assert not other.exists("feedback:hold")


def _accounts(client: TaggedRedis, places: Places) -> None:
    """What is in Redis is looked at and repaired, page by page too; totals are carried on."""
    [lost, unread, *_] = _fetch(client, "host:2:b", 3, QUEUE)
    client.srem(f"{KEYS.held_prefix}host:2:b", lost, unread)
    client.zrem(KEYS.index, lost)
    client.hset(KEYS.unacked, unread, "no row")
    client.zadd(KEYS.index, {"gone": 1})
    client.lpush("feedback\x06\x167", *places.enqueue_foreign(1))
    assert take_snapshot(Partitions([client])).in_flight == 4
    found = check(client, at_once=1)
    repaired = list(
        repair_redis(Partitions([client]), Report(checks=(found,), strays=find_strays(Partitions([client]), within=1)))
    )
    assert len(repaired) > 3
    assert check(client).hangs_together
    copy_to_partition(client, places.enqueue_foreign(1))
    assert take_snapshot(Partitions([client])).queued > 1
    look_at_scheduled(Partitions([client]))
    take_backlog(Partitions([client]))
    continuity._identify(client)
    assert continuity._CARRY(client, [OURS.counts], [1, "", "accepted", 0]) == 1
    assert continuity._HOLD_AGAIN(client, [OURS.hold, OURS.counts], ["why", "me", 1000, 1]) == 1
    assert enqueue(client, "plan", {1: to_message(an_event())}) == {1}
    assert withhold(client, "plan", [1, 2]) == {1}
    claim = _KeyClaim(client, "feedback:idempotency:client:hash")
    assert claim.take() is None
    asyncio.run(claim.settle("done", 1000))


def _operators(client: TaggedRedis, places: Places) -> None:
    """Messages are searched for, sent and ended; a history is kept; single orgs are held; operators are told."""
    (message,) = places.enqueue(1)
    assert len(search_messages(Partitions([client]), request_id_of(message)).found) == 1
    waiting = [to_message(an_event()) for _ in range(2)]
    places.schedule(*waiting)
    assert send(client, 0, [Replacement(waiting[0], waiting[0])]) == [True]
    assert end(client, 0, [Ending(waiting[1], [CountField.DEAD])]) == [True]
    now = float(client.time()[0])
    assert write_counts(client, {int(now) // 60 * 60: {"del": 1}}, writer="w", number=1, now=now)
    assert write_sample(client, buckets_of({int(now) // 60 * 60: {"acc": 1}}), last=b"", sample=b"1", now=now)
    holds = OrgHolds(client, actor="me", ring=lambda: KeyRing(from_file=True))
    holds.hold("acme", "why", actor="me")
    probe = Message(event=an_event(), envelope=Envelope(enqueued_at=NOON, message_id="m"))
    refused = Response(status=401)
    assert holds.heard(probe, refused, Classification.UNAUTHORIZED, "401")
    (of_key,) = [hold for hold in read_org_holds(client) if not hold.state.by_hand]
    holds.probe_soon(of_key.scope)
    assert holds.take_probe(of_key, now=datetime.now(UTC) + timedelta(hours=1))
    holds.try_keys([of_key])
    assert holds.resume(org_scope("acme"))
    client.zadd(f"{QUEUE}{DELAYED}", {to_message(an_event()): moment_of("org:acme") for _ in range(3)})
    assert give_one_back(client, "org:acme")
    assert give_back(client, but=(), most=10).messages == 2
    notifier = NotifierStore(client, "w1")
    assert notifier.acquire()
    assert notifier.save(NotifierState())
    notifier.release(timedelta(seconds=1))


def _moving(client: TaggedRedis, other: TaggedRedis) -> None:
    """Everything goes to another slot of the node, as to another Redis."""
    _lease(client, "host:2:b").requeue([], end="head", keep=())
    before = take_snapshot(Partitions([client])).queued
    list(move(Partitions([client]), Partitions([other])))
    assert take_snapshot(Partitions([other])).queued == before
    assert take_snapshot(Partitions([client])).waiting == 0


def test_every_script_runs_in_cluster_mode(client: TaggedRedis, node: RedisServer) -> None:
    """With keys behind one hash tag, all of them declared."""
    places = Places(client)
    producer = FeedbackProducer(node.url, queue=f"{TAG.decode()}{QUEUE}")
    producer.enqueue(an_event())
    producer.close()

    _broker(client, places)
    _deliveries(client, places)
    _accounts(client, places)
    _operators(client, places)
    with closing(TaggedRedis(node.port, OTHER_TAG)) as other:
        _moving(client, other)

    scripts = all_scripts()
    ran = client.script_exists(*(script.sha for script in scripts.values()))
    assert [name for name, known in zip(scripts, ran, strict=True) if not known] == []


def test_an_undeclared_key_of_another_slot_is_refused(client: TaggedRedis) -> None:
    """So that the test above could fail."""
    with pytest.raises(Exception, match="same slot"):
        client.eval("#!lua\nredis.call('SET', 'feedback', 1)", 1, "feedback")
