"""How the worker's parts reach the broker's Redis: clients of redis-py, and what Kombu has to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from producer.address import Address
from producer.broker_url import BrokerUrl

if TYPE_CHECKING:
    from producer.broker_url import Place
    from producer.sentinels import Sentinels

__all__ = ["redis_client"]

_PATIENCE: Final = 5.0
"""Seconds to wait for Redis, or for a free connection, before the event goes back to wait its turn."""

_SENTINEL_PATIENCE: Final = 1.0
"""Seconds for each step of asking a sentinel, of which there are several."""


class _Master:
    """Tells redis-py's managed connections where to connect, each time that one does.

    redis-py's own way asks one sentinel after another, and waits for each that is gone.
    """

    is_master = True
    check_connection = False

    def __init__(self, sentinels: Sentinels, name: str) -> None:
        self.service_name = name
        self._sentinels = sentinels

    def get_master_address(self) -> Place:
        try:
            return self._sentinels.find()
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error


def redis_client(url: str, *, sentinel_master: str | None = None, connections: int) -> redis.Redis:
    """Return a client that answers in bytes and tries again after a failure; it connects when it is first used.

    Args:
        url: The broker's URL, in redis-py's spelling or Kombu's.
        sentinel_master: The master's name, if the URL names its sentinels. The client follows the master.
        connections: At the most; as many as there are threads.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it.
    """
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": _PATIENCE,
        "socket_timeout": _PATIENCE,
        "socket_connect_timeout": _PATIENCE,
        "health_check_interval": 30,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), retries=3),
        "retry_on_error": [redis.ConnectionError, redis.TimeoutError],
    }
    if sentinel_master:
        address = Address(url, patience=_SENTINEL_PATIENCE, sentinel_master=sentinel_master)
        if address.sentinels:
            options["connection_class"] = SentinelManagedSSLConnection if address.tls else SentinelManagedConnection
            options["connection_pool"] = _Master(address.sentinels, sentinel_master)
    broker = BrokerUrl.read(url, sentinel_master)
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(broker.redis, **options))
