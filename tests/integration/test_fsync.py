"""Acknowledged means on disk: servers with and without an append-only file, and those that have no WAITAOF."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from tests.support.processes import VALKEY, eventually, need, redis_server
from tests.support.producers import EVENT, attempt, produce
from tests.support.replication import replicated_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])

ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey that syncs each write."""
    with redis_server(VALKEY, tmp_path / "valkey", *ALWAYS) as started:
        yield started


@both
def test_what_is_acknowledged_was_synced(kind: str, server: RedisServer, tmp_path: Path) -> None:
    """A server that is killed has it when it starts again with the same files."""
    with produce(kind, server.url, fsync=True, timeout=10) as producer:
        producer.ping()
        producer.enqueue(EVENT)
        producer.enqueue_many([EVENT] * 700)
        with server.client() as client:
            assert client.info("commandstats")["cmdstat_waitaof"]["failed_calls"] == 0
            assert client.info("commandstats")["cmdstat_waitaof"]["calls"] >= 4
        server.run.kill()

    with redis_server(VALKEY, tmp_path / "valkey", *ALWAYS) as again, again.client() as client:
        assert client.llen("feedback") == 701


@both
def test_without_an_append_only_file_nothing_is_sent(kind: str, tmp_path: Path) -> None:
    """The error names the setting and the fix; when it is fixed, nothing has to be restarted."""
    with (
        redis_server(VALKEY, tmp_path / "valkey") as server,
        server.client() as client,
        produce(kind, server.url, fsync=True, timeout=10) as producer,
    ):
        refused = attempt(producer)
        with pytest.raises(BrokerUnavailable, match="CONFIG SET appendonly yes"):
            producer.ping()
        assert client.exists("feedback") == 0
        _turn_on(client)

        taken = attempt(producer)

    assert type(refused.error) is BrokerUnavailable
    assert "CONFIG SET appendonly yes" in str(refused.error)
    assert "FEEDBACK_ENQUEUE_FSYNC" in str(refused.error)
    assert taken.error is None


def _turn_on(client: Any) -> None:
    client.config_set("appendfsync", "always")
    client.config_set("appendonly", "yes")
    eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], what="the file is written")


@both
def test_a_file_that_is_turned_off_leaves_one_event_uncertain(kind: str, server: RedisServer) -> None:
    """The connection was made before; those made later are told."""
    with produce(kind, server.url, fsync=True, timeout=10) as producer, server.client() as client:
        producer.enqueue(EVENT)
        client.config_set("appendonly", "no")

        first, second = attempt(producer), attempt(producer)

        assert client.llen("feedback") == 2
    assert (type(first.error), type(second.error)) == (EnqueueUncertain, BrokerUnavailable)
    assert "CONFIG SET appendonly yes" in str(first.error)


@both
def test_a_disk_that_is_left_to_the_kernel_confirms_nothing(kind: str, server: RedisServer) -> None:
    """`appendfsync no`: what Redis took may be anywhere."""
    with server.client() as client, produce(kind, server.url, fsync=True, timeout=1) as producer:
        producer.enqueue(EVENT, timeout=10)
        client.config_set("appendfsync", "no")

        outcomes = [attempt(producer) for _ in range(2)]

    assert [type(outcome.error) for outcome in outcomes] == [EnqueueUncertain, BrokerUnavailable]
    assert "its disk" in str(outcomes[0].error)


@both
@pytest.mark.parametrize("binary", ["valkey", "redis"])
def test_a_server_without_waitaof_is_sent_nothing(kind: str, binary: str, tmp_path: Path) -> None:
    """Redis 7.0 has none, and a provider may take the command away."""
    program = VALKEY if binary == "valkey" else need("redis-server")
    renamed = ("--rename-command", "WAITAOF", "") if binary == "valkey" else ()
    with (
        redis_server(program, tmp_path / "server", *ALWAYS, *renamed) as server,
        produce(kind, server.url, fsync=True, timeout=10) as producer,
        server.client() as client,
    ):
        outcome = attempt(producer)
        has_waitaof = not renamed and tuple(map(int, client.info("server")["redis_version"].split(".")[:2])) >= (7, 2)

        assert client.llen("feedback") == has_waitaof
    if not has_waitaof:
        assert type(outcome.error) is BrokerUnavailable
        assert "use Redis 7.2 or newer, or Valkey, or leave fsync (FEEDBACK_ENQUEUE_FSYNC) off" in str(outcome.error)


@both
@pytest.mark.parametrize(("option", "kind_of_error"), [("yes", type(None)), ("no", BrokerUnavailable)])
def test_replicas_confirm_with_their_own_disks(kind: str, option: str, kind_of_error: type, tmp_path: Path) -> None:
    """One without an append-only file has the event in its memory, and can't."""
    with (
        _group(tmp_path, replica_appendonly=option) as url,
        produce(kind, url, replicas=1, fsync=True, timeout=10) as producer,
    ):
        outcome = attempt(producer, timeout=10 if option == "yes" else 3)

    assert type(outcome.error) is kind_of_error
    if option == "no":
        assert "the disks of 0 of 1 replicas confirmed it in time" in str(outcome.error)
        assert "and their appendonly" in str(outcome.error)


@contextmanager
def _group(folder: Path, *, replica_appendonly: str) -> Iterator[str]:
    with replicated_redis(VALKEY, folder, *ALWAYS) as group, group.replicas[0].client() as replica:
        replica.config_set("appendonly", replica_appendonly)
        yield group.url
