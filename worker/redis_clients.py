"""Clients of redis-py for the broker's Redis, however it is reached."""

from __future__ import annotations

from typing import Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from producer.address import redis_url

__all__ = ["redis_client"]

_PATIENCE: Final = 5.0
"""Seconds to wait for Redis, or for a free connection, before the event goes back to wait its turn."""


def redis_client(url: str, *, sentinel_master: str | None = None, connections: int) -> redis.Redis:
    """Return a client that answers in bytes and tries again after a failure; it connects when it is first used.

    Args:
        url: The broker's URL, in redis-py's spelling or Kombu's.
        sentinel_master: The master's name, if the URL names its sentinels.
        connections: At the most; as many as there are threads.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it.
    """
    if sentinel_master is not None:
        raise ValueError("a master's name is for a sentinel:// URL")
    pool = redis.BlockingConnectionPool.from_url(
        redis_url(url),
        max_connections=connections,
        timeout=_PATIENCE,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), retries=3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )
    return redis.Redis.from_pool(pool)
