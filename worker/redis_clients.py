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

__all__ = ["Master", "kombu_broker", "redis_client"]

_PATIENCE: Final = 5.0
"""Seconds to wait for Redis, or for a free connection, before the event goes back to wait its turn."""

_RETRIES: Final = 3

_SENTINEL_PATIENCE: Final = 1.0
"""Seconds for each step of asking a sentinel, of which there are several."""


class Master:
    """Tells redis-py's managed connections where to connect, each time that one does, in place of redis-py's pool.

    redis-py's own way asks one sentinel after another, and waits for each that is gone.

    Args:
        sentinels: Whom to ask.
        name: The name under which they watch the master.
        tls: Whether the connections to it are encrypted.
    """

    is_master = True
    check_connection = False

    def __init__(self, sentinels: Sentinels, name: str, *, tls: bool) -> None:
        self.service_name = name
        self.tls = tls
        self._sentinels = sentinels

    def __json__(self) -> str:
        """Return what Celery tells whoever inspects a worker's transport options."""
        return self.service_name

    def get_master_address(self) -> Place:
        """Return the host and the port.

        Raises:
            redis.ConnectionError: No sentinel leads to it.
        """
        try:
            return self._sentinels.find()
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error


def redis_client(
    url: str,
    *,
    sentinel_master: str | None = None,
    connections: int,
    patience: float = _PATIENCE,
    retries: int = _RETRIES,
) -> redis.Redis:
    """Return a client that answers in bytes and tries again after a failure; it connects when it is first used.

    Args:
        url: The broker's URL, in redis-py's spelling or Kombu's.
        sentinel_master: The master's name, if the URL names its sentinels. The client follows the master.
        connections: At the most; as many as there are threads.
        patience: Seconds to wait for each answer of Redis, and for a free connection.
        retries: How often it tries again after a failure.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it.
    """
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": patience,
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "health_check_interval": 30,
        "retry": Retry(ExponentialBackoff(cap=1, base=0.05), retries=retries),
        "retry_on_error": [redis.ConnectionError, redis.TimeoutError],
    }
    if master := _master(url, sentinel_master):
        options["connection_class"] = SentinelManagedSSLConnection if master.tls else SentinelManagedConnection
        options["connection_pool"] = master
    broker = BrokerUrl.read(url, sentinel_master)
    return redis.Redis.from_pool(redis.BlockingConnectionPool.from_url(broker.redis, **options))


def kombu_broker(url: str, *, sentinel_master: str | None = None) -> tuple[str, dict[str, Any]]:
    """Return the URL that Celery is to be given as its broker's, and what belongs into its transport options.

    Args:
        url: As of `redis_client`.
        sentinel_master: As of `redis_client`.

    Raises:
        ValueError: As of `redis_client`.
    """
    master = _master(url, sentinel_master)
    return BrokerUrl.read(url, sentinel_master).kombu, {"master": master} if master else {}


def _master(url: str, name: str | None) -> Master | None:
    address = Address(url, patience=_SENTINEL_PATIENCE, sentinel_master=name)
    return Master(address.sentinels, name, tls=address.tls) if address.sentinels and name else None
