"""Real sentinels: a producer with their addresses goes on after a failover, with the same object."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import redis
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.json import dumps

from producer import BrokerUnavailable
from tests.support.certificates import self_signed
from tests.support.processes import VALKEY, eventually, need, redis_server, running
from tests.support.producers import EVENT, attempt, first_enqueue, produce
from tests.support.sentinels import MASTER, SentinelGroup, sentinel_group
from worker.broker import install
from worker.clients.redis.connections import kombu_broker, redis_client
from worker.delivery.partitioned_idempotency import connect_idempotency
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer
    from tests.support.producers import InALoop, InThreads

KINDS = ("threads", "asyncio")

both = pytest.mark.parametrize("kind", KINDS)
servers = pytest.mark.parametrize("binary", ["valkey", "redis"])


def _binary(name: str) -> str:
    return VALKEY if name == "valkey" else need("redis-server")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    """A master, a replica and three sentinels, of Valkey."""
    with sentinel_group(VALKEY, tmp_path / "group") as started:
        yield started


@contextmanager
def _producing(kind: str, group: SentinelGroup, **options: Any) -> Iterator[InThreads | InALoop]:
    with produce(kind, group.url, sentinel_master=MASTER, **options) as producer:
        yield producer


def _queued(group: SentinelGroup, server: RedisServer) -> tuple[int, str | None]:
    with group.client(server.port) as client:
        return client.llen("feedback"), client.hget("feedback:counts", "accepted")


def test_nothing_is_imported_to_ask_the_sentinels(group: SentinelGroup) -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will release."""
    assert first_enqueue(group.url, MASTER) == (True, "[]")


@both
@servers
def test_the_same_producer_goes_on_after_a_failover(kind: str, binary: str, tmp_path: Path) -> None:
    """Sentinels and servers have passwords of their own; no error repeats one. What was counted moves as well."""
    with (
        sentinel_group(
            _binary(binary), tmp_path / "group", password="s3cr3t-redis", sentinel_password="s3cr3t-sentinel"
        ) as group,
        _producing(kind, group, timeout=5) as producer,
    ):
        producer.enqueue(EVENT)
        group.await_replicas(1)
        with group.client(group.master().port) as client:
            assert client.wait(1, 10_000) == 1
        old = group.kill_master()

        refused = attempt(producer, timeout=0.25)
        new = group.await_successor(old)
        taken = attempt(producer)

        assert type(refused.error) is BrokerUnavailable
        assert f"master 127.0.0.1:{old.port}: " in str(refused.error)
        assert "s3cr3t" not in str(refused.error)
        assert "s3cr3t" not in repr(producer)
        assert taken.error is None
        assert _queued(group, new) == (2, "2")


@both
def test_a_master_that_was_demoted_is_left(kind: str, group: SentinelGroup) -> None:
    """A failover by hand: the old master lives on as a replica, and its idle connections are worth nothing."""
    with _producing(kind, group, timeout=5, max_connections=4) as producer:
        if kind == "threads":
            _fill_pool(producer, 4)
        producer.enqueue(EVENT)
        old = group.master()
        with group.client(old.port) as client:
            assert client.wait(1, 10_000) == 1
        group.ask("FAILOVER", MASTER)
        new = group.await_successor(old)
        with group.client(old.port) as client:
            eventually(lambda: client.info("replication")["role"] == "slave", timeout=60, what="the old one is demoted")

        outcomes = [attempt(producer) for _ in range(3)]

        # The first may meet a connection that was still to the old one; what it is told is that nothing was taken.
        assert [type(outcome.error) for outcome in outcomes[1:]] == [type(None)] * 2
        assert type(outcomes[0].error) in {type(None), BrokerUnavailable}
        taken = sum(outcome.error is None for outcome in outcomes)
        assert _queued(group, new) == (1 + taken, str(1 + taken))


@both
def test_a_demoted_server_is_left_although_its_connections_live(kind: str, group: SentinelGroup) -> None:
    """READONLY: nothing was taken, the sentinels are asked again, and no other idle connection is tried."""
    with _producing(kind, group, timeout=5, max_connections=4) as producer:
        if kind == "threads":
            _fill_pool(producer, 4)
        producer.enqueue(EVENT)
        old, (new,) = group.master(), group.replicas()
        for sentinel in group.sentinels.values():
            sentinel.run.pause()
        with group.client(new.port) as client:
            client.replicaof("NO", "ONE")
        with group.client(old.port) as client:
            client.replicaof("127.0.0.1", str(new.port))

        refused = attempt(producer)
        nobody_to_ask = attempt(producer, timeout=0.5)

        for sentinel in group.sentinels.values():
            sentinel.run.thaw()
        assert "READONLY" in str(refused.error)
        assert type(nobody_to_ask.error) is BrokerUnavailable
        assert nobody_to_ask.seconds < 0.5 + 0.15
        eventually(lambda: _settled(group), timeout=60, what="the sentinels have settled who is the master")
        eventually(lambda: attempt(producer).error is None, timeout=60, what="events are taken again")


def _settled(group: SentinelGroup) -> bool:
    master = group.master()
    roles = []
    for server in (master, *group.replicas()):
        with group.client(server.port) as client:
            roles.append(client.info("replication")["role"])
    return roles == ["master", "slave"]


@pytest.mark.alone
@pytest.mark.parametrize("trouble", ["killed", "frozen"])
def test_an_event_is_taken_within_the_budget_while_a_sentinel_is_away(trouble: str, group: SentinelGroup) -> None:
    """A frozen one accepts connections and says nothing, as a machine that is gone does; the next is asked."""
    first = next(iter(group.sentinels.values()))
    first.run.kill() if trouble == "killed" else first.run.pause()

    for kind in KINDS:
        with _producing(kind, group) as producer:
            outcome = attempt(producer, timeout=0.5)

        assert outcome.error is None, kind
        assert outcome.seconds < 0.5, kind


@both
def test_sentinels_that_are_all_away_are_not_waited_for(kind: str, group: SentinelGroup) -> None:
    """The budget holds, and nothing was sent; an open connection needs no sentinel."""
    with _producing(kind, group) as connected:
        connected.enqueue(EVENT, timeout=5)
        for sentinel in group.sentinels.values():
            sentinel.run.pause()

        with _producing(kind, group) as producer:
            outcome = attempt(producer)

        assert attempt(connected).error is None
        for sentinel in group.sentinels.values():
            sentinel.run.thaw()
    assert type(outcome.error) is BrokerUnavailable
    assert outcome.seconds < 0.25 + 0.15


@both
def test_a_name_that_the_sentinels_do_not_know_is_named(kind: str, group: SentinelGroup) -> None:
    """The operator sees which name was asked for, and which sentinels were asked."""
    with produce(kind, group.url, sentinel_master="unknown", timeout=5) as producer:
        outcome = attempt(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert "no sentinel leads to the master 'unknown'; sentinel 127.0.0.1:" in str(outcome.error)
    assert "it watches no master of that name" in str(outcome.error)


@both
def test_sentinels_are_asked_over_tls_too(kind: str, tmp_path: Path) -> None:
    """One certificate authority for both; without it no server is believed."""
    binary = need("redis-server")
    certificate, key = self_signed(tmp_path)
    tls = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    tls += ["--tls-auth-clients", "no", "--tls-replication", "yes"]
    port, sentinel = free_port(), free_port()
    conf = tmp_path / "sentinel.conf"
    conf.write_text(f"port 0\ntls-port {sentinel}\ndir {tmp_path}\nsentinel monitor {MASTER} 127.0.0.1 {port} 1\n")
    url = f"sentinel://127.0.0.1:{sentinel}/0?ssl_ca_certs="
    with (
        redis_server(binary, tmp_path / "redis", "--tls-port", str(port), *tls),
        running([binary, str(conf), "--sentinel", *tls], log=tmp_path / "sentinel.log"),
        produce(kind, f"{url}{certificate}", sentinel_master=MASTER, timeout=5) as producer,
        produce(kind, f"{url}{key}", sentinel_master=MASTER, timeout=5) as without,
        closing(redis_client(f"{url}{certificate}", sentinel_master=MASTER, connections=1)) as client,
    ):
        eventually(lambda: attempt(producer).error is None, what="the sentinel answers")
        stranger = attempt(without)
        taken = client.llen("feedback")

    assert taken == 1
    assert type(stranger.error) is BrokerUnavailable


@servers
def test_the_ledger_follows_the_master(binary: str, tmp_path: Path) -> None:
    """With the same object, also from connections that were idle; what it knew is known to the new one."""
    with sentinel_group(_binary(binary), tmp_path / "group", password="s3cr3t", sentinel_password="own") as group:
        idempotency = connect_idempotency(
            group.url, sentinel_master=MASTER, ttl=timedelta(days=1), lease=timedelta(seconds=30), connections=2
        )
        with closing(idempotency), group.client(group.master().port) as client:
            before = idempotency.counts()
            client.hset("feedback:counts", "delivered", "7")
            assert client.wait(1, 10_000) == 1
            old = group.kill_master()
            with pytest.raises(redis.RedisError):
                idempotency.counts()
            group.await_successor(old)

            after = idempotency.counts()

    assert set(before.values()) == {0}
    assert max(after.values()) == 7


def test_a_client_leaves_a_master_that_was_demoted(group: SentinelGroup) -> None:
    """Its connection lives; READONLY says that the master is another."""
    with closing(redis_client(group.url, sentinel_master=MASTER, connections=2)) as client:
        client.set("key", "before")
        old = group.master()
        group.ask("FAILOVER", MASTER)
        new = group.await_successor(old)
        with group.client(old.port) as looking:
            eventually(lambda: looking.info("replication")["role"] == "slave", timeout=60, what="the old is demoted")

        client.set("key", "after")

        with group.client(new.port) as looking:
            assert looking.get("key") == "after"


@pytest.fixture
def _our_transport() -> Iterator[None]:
    """Celery's broker connections take ours, until the test ends."""
    with patch.dict(TRANSPORT_ALIASES):
        install()
        yield


@servers
@pytest.mark.usefixtures("_our_transport")
def test_the_transport_follows_the_master(binary: str, tmp_path: Path) -> None:
    """What the producer enqueued at the old one is fetched from the new one, and no password is told."""
    with (
        sentinel_group(_binary(binary), tmp_path / "group", password="s3cr3t", sentinel_password="own-s3cr3t") as group,
        _producing("threads", group, timeout=5) as producer,
    ):
        broker = kombu_broker(group.url, sentinel_master=MASTER)
        with Connection(broker.url, transport_options=broker.transport_options) as connection:
            queue = connection.SimpleQueue("feedback")
            producer.enqueue(EVENT)
            queue.get(timeout=10).ack()
            producer.enqueue(EVENT)
            with group.client(group.master().port) as client:
                eventually(lambda: client.hlen("unacked") == 0, what="the ack is in Redis")
                assert client.wait(1, 10_000) == 1
            old = group.kill_master()
            group.await_successor(old)
            told = {name: value for name, value in connection.info().items() if name != "password"}

        with Connection(broker.url, transport_options=broker.transport_options) as connection:
            message = connection.SimpleQueue("feedback").get(timeout=10)
            message.ack()

    assert message.payload[1]["request_id"] == EVENT.request_id
    assert "s3cr3t" not in dumps(told)


def _fill_pool(producer: Any, size: int) -> None:
    taken = [producer._pool.take(time.monotonic() + 10) for _ in range(size)]
    for connection in taken:
        producer._pool.release(connection)
