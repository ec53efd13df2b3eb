"""A Redis that is there and refuses: for a worker it is as good as away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Connection

from worker.broker.server_errors import ServerError
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import RedisServer


@pytest.fixture
def connection(broker: RedisServer) -> Iterator[Connection]:
    """A connection over our transport."""
    with Connection(broker.url, transport="worker.broker.transport:Transport") as connection:
        yield connection


def _full(client: redis.Redis) -> Callable[[], object]:
    client.config_set("maxmemory", 1)
    return lambda: client.config_set("maxmemory", 0)


def _demoted(client: redis.Redis) -> Callable[[], object]:
    client.replicaof("127.0.0.1", free_port())
    return lambda: client.replicaof("NO", "ONE")


def _without_replicas(client: redis.Redis) -> Callable[[], object]:
    client.config_set("min-replicas-to-write", 1)
    return lambda: client.config_set("min-replicas-to-write", 0)


@pytest.mark.parametrize("refuse", [_full, _demoted, _without_replicas])
def test_a_refusal_is_a_lost_connection(
    connection: Connection, broker_client: redis.Redis, refuse: Callable[[redis.Redis], Callable[[], object]]
) -> None:
    """Celery recovers from those; and code that expects an error of the command gets one. Then it works again."""
    channel: Any = connection.default_channel
    fix = refuse(broker_client)
    try:
        with pytest.raises(ServerError) as refused, channel.conn_or_acquire() as client:
            client.lpush("q", "entry")
    finally:
        fix()

    assert isinstance(refused.value, connection.connection_errors)
    assert isinstance(refused.value, redis.ResponseError)
    with channel.conn_or_acquire() as client:
        assert client.lpush("q", "entry") == 1


def test_any_other_error_of_a_command_stays_one(connection: Connection, broker_client: redis.Redis) -> None:
    """To connect again would not help."""
    broker_client.set("q", "no list")
    channel: Any = connection.default_channel

    with pytest.raises(redis.ResponseError, match="WRONGTYPE") as wrong, channel.conn_or_acquire() as client:
        client.lpush("q", "entry")
    assert not isinstance(wrong.value, redis.ConnectionError)
