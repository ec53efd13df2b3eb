"""What a real server may do to both producers: refuse, be full, be replaced, be restarted."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis import ConnectionError as RedisConnectionError

from producer import BrokerUnavailable, FeedbackProducer
from tests.support.processes import VALKEY, RedisServer, eventually, need, redis_server, running
from tests.support.producers import EVENT, attempt, produce
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])
servers = pytest.mark.parametrize("binary", ["valkey", "redis"])

RIGHTS = ("resetkeys", "~feedback", "~feedback:counts", "-@all", "+ping", "+eval", "+lpush", "+hincrby")
"""All that a producer needs; as docs/settings.md says."""


def _binary(name: str) -> str:
    return VALKEY if name == "valkey" else need("redis-server")


@pytest.fixture(params=["valkey", "redis"])
def own_client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[redis.Redis]:
    """A server of the test's own, whose configuration it may change."""
    with redis_server(_binary(request.param), tmp_path) as server, server.client() as client:
        yield client


def _url(client: redis.Redis, login: str = "") -> str:
    return f"redis://{login}127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def _connections_made(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


@both
def test_a_full_server_refuses_and_the_connection_lives_on(kind: str, own_client: redis.Redis) -> None:
    """Out of memory under noeviction: nothing is taken, nothing is evicted, and nothing is dialled again."""
    with produce(kind, _url(own_client), timeout=5) as producer:
        producer.enqueue(EVENT)
        own_client.config_set("maxmemory", "1")
        made = _connections_made(own_client)

        outcomes = [attempt(producer) for _ in range(3)]

        own_client.config_set("maxmemory", "0")
        producer.enqueue(EVENT)
        assert _connections_made(own_client) == made
    assert own_client.llen("feedback") == 2
    assert own_client.hgetall("feedback:counts") == {"accepted": "2"}
    for outcome in outcomes:
        assert type(outcome.error) is BrokerUnavailable
        assert str(outcome.error).startswith("Redis refused the event: OOM ")


@both
def test_a_replica_refuses_until_it_is_the_master(kind: str, own_client: redis.Redis) -> None:
    """After a failover the address may lead elsewhere, so its connection is not kept."""
    with produce(kind, _url(own_client), timeout=5) as producer:
        producer.enqueue(EVENT)
        own_client.replicaof("127.0.0.1", "1")
        made = _connections_made(own_client)

        refused = [attempt(producer) for _ in range(2)]

        own_client.replicaof("NO", "ONE")
        producer.enqueue(EVENT)
        assert _connections_made(own_client) == made + 2
    for outcome in refused:
        assert type(outcome.error) is BrokerUnavailable
        assert str(outcome.error).startswith("Redis refused the event: READONLY ")


@both
def test_a_master_that_has_lost_its_replicas_refuses_until_it_has_them(kind: str, own_client: redis.Redis) -> None:
    """One of them may be the master by now, so the connection is not kept."""
    with produce(kind, _url(own_client), timeout=5) as producer:
        producer.enqueue(EVENT)
        own_client.config_set("min-replicas-to-write", "1")
        made = _connections_made(own_client)

        refused = [attempt(producer) for _ in range(2)]

        own_client.config_set("min-replicas-to-write", "0")
        producer.enqueue(EVENT)
        assert _connections_made(own_client) == made + 2
    assert own_client.hgetall("feedback:counts") == {"accepted": "2"}
    for outcome in refused:
        assert type(outcome.error) is BrokerUnavailable
        assert str(outcome.error).startswith("Redis refused the event: NOREPLICAS ")


def _let(client: redis.Redis, *rules: str) -> None:
    """Give the login ``chat`` its rights."""
    client.execute_command("ACL", "SETUSER", "chat", *rules)


@both
@pytest.mark.parametrize(
    "rights",
    ["~feedback* +@all -eval", "~feedback* +@all -lpush", "~feedback* +@all -hincrby", "~feedback +@all"],
)
def test_a_login_that_lacks_a_right_enqueues_nothing(kind: str, rights: str, own_client: redis.Redis) -> None:
    """Nothing is counted, either; the connection is good for when the right is given."""
    _let(own_client, "on", ">p", *rights.split())

    with produce(kind, _url(own_client, "chat:p@"), timeout=5) as producer:
        outcome = attempt(producer)
        made = _connections_made(own_client)
        assert own_client.exists("feedback") == 0
        assert own_client.hget("feedback:counts", "accepted") in {None, "0"}
        _let(own_client, *RIGHTS)
        producer.enqueue(EVENT)
        assert _connections_made(own_client) == made
    with produce(kind, _url(own_client, "chat:p@"), timeout=5) as producer:
        producer.enqueue(EVENT)

    assert type(outcome.error) is BrokerUnavailable
    assert "Redis refused the event: " in str(outcome.error)
    assert "permission" in str(outcome.error) or "can't run this command" in str(outcome.error)


@both
@pytest.mark.parametrize("login", ["", ":wr0ng@", "unknown:wr0ng@"])
def test_a_wrong_login_is_reported_without_the_password(kind: str, login: str, own_client: redis.Redis) -> None:
    """The operator fixes the setting; the log keeps no secret."""
    own_client.config_set("requirepass", "s3cr3t")

    with produce(kind, _url(own_client, login), timeout=5) as producer:
        outcome = attempt(producer)
    with produce(kind, _url(own_client, ":s3cr3t@"), timeout=5) as producer:
        producer.enqueue(EVENT)

    assert type(outcome.error) is BrokerUnavailable
    assert "wr0ng" not in str(outcome.error)
    assert "uthentication" in str(outcome.error) or "invalid username-password" in str(outcome.error)


@contextmanager
def _serving(binary: str, port: int, folder: Path) -> Iterator[redis.Redis]:
    """A server on a port that the test has chosen."""
    folder.mkdir()
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (
        running(command, log=folder / "redis.log") as process,
        RedisServer(port, process).client() as client,
    ):
        eventually(lambda: _answers(client), what="the server answers")
        yield client


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


@both
@servers
def test_a_restart_between_two_events_is_not_noticed(kind: str, binary: str, tmp_path: Path) -> None:
    """Connections that died while they were idle are found out before an event is trusted to one."""
    port = free_port()
    with produce(kind, f"redis://127.0.0.1:{port}/0", timeout=5) as producer:
        with _serving(_binary(binary), port, tmp_path / "before"):
            _fill_pool(producer, 8)
            producer.enqueue(EVENT)
        with _serving(_binary(binary), port, tmp_path / "after") as client:
            outcomes = [attempt(producer) for _ in range(10)]

            assert client.llen("feedback") == 10
    assert [outcome.error for outcome in outcomes] == [None] * 10


def _fill_pool(producer: Any, size: int) -> None:
    if isinstance(producer, FeedbackProducer):
        taken = [producer._pool.take(time.monotonic() + 5) for _ in range(size)]
        for connection in taken:
            producer._pool.release(connection)
