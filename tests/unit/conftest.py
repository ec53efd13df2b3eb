"""The Redis servers that every store of ours works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fakeredis
import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A connection to each kind of Redis, empty."""
    if request.param == "fakeredis":
        with fakeredis.FakeRedis() as fake:
            yield fake
        return
    server: RedisServer = request.getfixturevalue("_valkey" if request.param == "valkey" else "_debian_redis")
    with redis.Redis(port=server.port) as real:
        real.flushall()
        yield real


@pytest.fixture(params=["valkey", "redis"])
def real_client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """A connection to each kind of real Redis, empty."""
    server: RedisServer = request.getfixturevalue("_valkey" if request.param == "valkey" else "_debian_redis")
    with redis.Redis(port=server.port) as real:
        real.flushall()
        yield real
        real.flushall()
