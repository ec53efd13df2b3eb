"""Fixtures that many tests share: real servers, one of each for the whole run, empty for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.processes import VALKEY, RedisServer, need, redis_server


@pytest.fixture(scope="session")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(VALKEY, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def _debian_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(need("redis-server"), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def valkey(_valkey: RedisServer) -> Iterator[RedisServer]:
    """A real Valkey, empty."""
    _empty(_valkey)
    yield _valkey


@pytest.fixture(params=["valkey", "redis"])
def broker(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A real Valkey, then a real Redis, empty."""
    server: RedisServer = request.getfixturevalue("_valkey" if request.param == "valkey" else "_debian_redis")
    _empty(server)
    yield server


@pytest.fixture
def broker_client(broker: RedisServer) -> Iterator[redis.Redis]:
    """A connection for looking into `broker`."""
    with broker.client() as client:
        yield client


def _empty(server: RedisServer) -> None:
    with server.client() as client:
        client.flushall()
