"""Acknowledged means replicated: real masters and replicas, of which some hang, die and are promoted."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import run
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain, FeedbackProducer, ProducerError
from tests.support.places import request_id_of
from tests.support.processes import ROOT, VALKEY, eventually, need
from tests.support.producers import EVENT, attempt, produce
from tests.support.replication import ReplicatedRedis, replicated_redis
from tests.support.sentinels import MASTER, sentinel_group

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from tests.support.sentinels import SentinelGroup

BUDGET = 0.25
OVERSHOOT = 0.15  # as in test_producer_deadline.py

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])
servers = pytest.mark.parametrize("binary", ["valkey", "redis"])


def _binary(name: str) -> str:
    return VALKEY if name == "valkey" else need("redis-server")


@pytest.fixture(params=["valkey", "redis"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReplicatedRedis]:
    """A master and one replica, to be frozen and killed."""
    with replicated_redis(_binary(request.param), tmp_path / "group") as group:
        yield group


@both
@servers
def test_what_is_acknowledged_is_on_all_replicas_that_were_asked_for(kind: str, binary: str, tmp_path: Path) -> None:
    """One event and many, at the moment that the call returns."""
    with (
        replicated_redis(_binary(binary), tmp_path, replicas=2) as group,
        produce(kind, group.url, replicas=2, timeout=10) as producer,
    ):
        for number in range(1, 21):
            producer.enqueue(EVENT)
            assert group.queued() == [number] * 3
        producer.enqueue_many([EVENT] * 1_200)

        assert group.queued() == [1_220] * 3


@pytest.mark.alone
@both
def test_a_replica_that_hangs_leaves_one_event_uncertain_and_the_others_unsent(
    kind: str, pair: ReplicatedRedis
) -> None:
    """All within the budget. The message says how many have it, and nothing has to be restarted when it goes on."""
    (replica,) = pair.replicas
    with produce(kind, pair.url, replicas=1) as producer:
        producer.enqueue(EVENT, timeout=10)
        replica.run.pause()

        outcomes = [attempt(producer) for _ in range(3)]

        with pytest.raises(BrokerUnavailable, match=r"0 of 1 replicas|time is up|time was up"):
            producer.ping(timeout=1)
        replica.run.thaw()
        producer.enqueue(EVENT, timeout=10)
        assert pair.queued() == [3, 3]
    assert [type(outcome.error) for outcome in outcomes] == [EnqueueUncertain, BrokerUnavailable, BrokerUnavailable]
    assert "0 of 1 replicas" in str(outcomes[0].error)
    for outcome in outcomes:
        assert outcome.seconds < BUDGET + OVERSHOOT


@both
def test_one_replica_of_two_may_hang_where_one_is_asked_for(kind: str, tmp_path: Path) -> None:
    """Any one of them confirms."""
    with (
        replicated_redis(VALKEY, tmp_path, replicas=2) as group,
        produce(kind, group.url, replicas=1, timeout=10) as one,
        produce(kind, group.url, replicas=2, timeout=10) as two,
    ):
        two.enqueue(EVENT)
        group.replicas[0].run.pause()

        assert attempt(one).error is None
        refused = attempt(two, timeout=1)

        group.replicas[0].run.thaw()
    assert type(refused.error) is EnqueueUncertain
    assert "1 of 2 replicas confirmed it in time" in str(refused.error)


@both
def test_a_replica_that_is_gone_leaves_one_event_uncertain_and_the_others_unsent(
    kind: str, pair: ReplicatedRedis
) -> None:
    """The first was on its way to a master that had no replica; a new connection finds that out before it is used."""
    with produce(kind, pair.url, replicas=1, timeout=10) as producer:
        producer.enqueue(EVENT)
        pair.replicas[0].run.kill()
        pair.await_replicas(0)

        first = attempt(producer, timeout=0.5)
        later = [attempt(producer, timeout=1) for _ in range(3)]

        with pair.client() as client:
            assert client.llen("feedback") == 2
        with pytest.raises(BrokerUnavailable, match=r"0 of 1 replicas|time is up|time was up"):
            producer.ping(timeout=1)
    assert type(first.error) is EnqueueUncertain
    for outcome in later:
        assert type(outcome.error) is BrokerUnavailable


@pytest.mark.parametrize(("kind", "binary"), [("threads", "redis"), ("asyncio", "valkey")])
def test_what_was_acknowledged_is_with_the_master_that_the_sentinels_promote(
    kind: str, binary: str, tmp_path: Path
) -> None:
    """The master is killed while events come. Of those that were not acknowledged it may have any."""
    with (
        sentinel_group(_binary(binary), tmp_path / "group", replicas=2) as group,
        produce(kind, group.url, sentinel_master=MASTER, replicas=1, timeout=1) as producer,
        ThreadPoolExecutor(1) as killer,
    ):
        group.await_replicas(2)
        acknowledged = []
        old = group.master()
        killing: Future[Any] = Future()
        for number in range(3_000):
            if number == 200:
                killing = killer.submit(group.kill_master)
            request_id = str(uuid4())
            try:
                producer.enqueue(request_id, True, org="o", group="g")
            except ProducerError:
                if killing.done():
                    break
            else:
                acknowledged.append(request_id)
        new = group.await_successor(old)
        eventually(lambda: attempt(producer).error is None, what="the other replica follows the new master")

        assert len(acknowledged) >= 200
        assert set(acknowledged) <= _request_ids(group, new)


def _request_ids(group: SentinelGroup, server: RedisServer) -> set[str]:
    with group.client(server.port) as client:
        return {request_id_of(message) for message in client.lrange("feedback", 0, -1)}


@both
def test_a_master_that_thaws_after_its_replica_was_promoted_acknowledges_nothing(
    kind: str, pair: ReplicatedRedis
) -> None:
    """It runs what stands in its buffers before it hears that it is the master no more, and then loses it."""
    (promoted,) = pair.replicas
    with (
        produce(kind, pair.url, replicas=1, timeout=60) as producer,
        ThreadPoolExecutor(1) as other,
        pair.client() as old,
        promoted.client() as new,
    ):
        producer.enqueue(EVENT)
        pair.master.run.pause()
        under_way = other.submit(attempt, producer)
        eventually(lambda: _unread(pair.master.port), what="the event is in the master's buffer")
        new.replicaof("NO", "ONE")
        pair.master.run.thaw()
        eventually(lambda: old.llen("feedback") == 2, what="the old master has taken it")
        old.replicaof("127.0.0.1", str(promoted.port))

        outcome = under_way.result(60)

        assert type(outcome.error) is EnqueueUncertain
        eventually(lambda: old.info("replication")["master_link_status"] == "up", what="the old one follows")
        assert pair.queued() == [1, 1]


def _unread(port: int) -> bool:
    """Whether a connection to a port of this machine has bytes that the server has not read."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(line[1].endswith(f":{port:04X}") and int(line[4].partition(":")[2], 16) for line in lines)


def test_threads_share_connections_and_each_learns_what_became_of_its_own(pair: ReplicatedRedis) -> None:
    """Each connection waits for its own writes."""
    with FeedbackProducer(pair.url, replicas=1, timeout=20, max_connections=4) as producer:
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(producer.enqueue, [EVENT] * 800))

        assert pair.queued() == [800, 800]


def test_a_forked_backend_waits_for_replicas_in_each_process(pair: ReplicatedRedis) -> None:
    """Each child over connections of its own."""
    command = [sys.executable, "-m", "tests.integration.forking_backend", pair.url]
    environment = {**os.environ, "FEEDBACK_ENQUEUE_REPLICAS": "1"}
    ended = run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)

    assert ended.returncode == 0, ended.stderr
    assert pair.queued() == [int(ended.stdout)] * 2


async def test_thousands_of_tasks_are_confirmed_by_few_waits(pair: ReplicatedRedis) -> None:
    """And over one connection."""
    async with AsyncFeedbackProducer(pair.url, replicas=1, timeout=20) as producer:
        await asyncio.gather(*(producer.enqueue(EVENT) for _ in range(5_000)))

    assert pair.queued() == [5_000, 5_000]
    with pair.client() as client:
        assert client.info("commandstats")["cmdstat_wait"]["calls"] < 50


@both
def test_a_login_without_the_right_to_wait_is_told(kind: str, pair: ReplicatedRedis) -> None:
    """Before an event is sent. The documented rights, and this one, are enough."""
    documented = "on >p resetkeys ~feedback ~feedback:counts -@all +ping +eval +lpush +hincrby"
    with pair.client() as client:
        client.execute_command("ACL", "SETUSER", "chat", *documented.split())
        url = pair.url.replace("redis://", "redis://chat:p@")
        with produce(kind, url, replicas=1, timeout=10) as producer:
            refused = attempt(producer)
            client.execute_command("ACL", "SETUSER", "chat", "+wait")
            producer.ping()
            taken = attempt(producer)

    assert type(refused.error) is BrokerUnavailable
    assert "give the producer's login the right +wait" in str(refused.error)
    assert taken.error is None
    assert pair.queued() == [1, 1]


@both
def test_a_call_may_wait_longer_than_its_neighbours(kind: str, pair: ReplicatedRedis) -> None:
    """Its own budget is what counts: the replica goes on within it."""
    (replica,) = pair.replicas
    with produce(kind, pair.url, replicas=1, timeout=10) as producer, ThreadPoolExecutor(1) as other:
        producer.enqueue(EVENT)
        replica.run.pause()
        began = Event()

        def enqueue() -> None:
            began.set()
            producer.enqueue(EVENT, timeout=60)

        patient = other.submit(enqueue)
        began.wait(60)
        with pair.client() as client:
            eventually(lambda: client.llen("feedback") == 2, what="the master has it")
        assert not patient.done()
        replica.run.thaw()

        patient.result(60)
    assert pair.queued() == [2, 2]
