"""How the worker's parts reach the broker's Redis: clients of redis-py, and what Kombu has to be told."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from producer.address import Address
from producer.broker_url import BrokerUrl
from producer.cluster import ClusterNodes
from producer.partitions import RECORD, slot_of
from worker.clients.redis.cluster import OwnerConnection, OwnerSSLConnection
from worker.clients.redis.keys import with_prefix
from worker.clients.redis.known_owners import KnownOwners
from worker.clients.redis.partition_record import PartitionRecord
from worker.clients.redis.partitions import Partitions
from worker.clients.redis.retry import NO_RETRY, BoundedRetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer.broker_url import Place
    from producer.locator import Locator
    from producer.url_options import UrlOptions
    from worker.settings import Settings

__all__ = [
    "KombuBroker",
    "Master",
    "PartitionAddress",
    "broker_client",
    "broker_partitions",
    "broker_record",
    "kombu_broker",
    "producer_options",
    "recorded_partitions",
    "redis_client",
    "redis_partitions",
]  # fmt: skip

_CERT_REQS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}

_PATIENCE: Final = 5.0
"""Seconds to wait for Redis, or for a free connection, before the event goes back to wait its turn."""

_RETRIES: Final = 3

_SENTINEL_PATIENCE: Final = 1.0
"""Seconds for each step of asking a sentinel, of which there are several."""


class Master:
    """Tells redis-py's managed connections where to connect, each time that one does, in place of redis-py's pool.

    redis-py's own way asks one sentinel after another, and waits for each that is gone.

    Args:
        locator: Finds the master, or the primary of a cluster that has the queue's slot.
        name: The name under which sentinels watch the master, or what stands before the keys in a cluster.
        tls: Whether the connections to it are encrypted.
        known: Returns where it is, if another connection of this process was just told.
    """

    is_master = True
    check_connection = False

    def __init__(
        self, locator: Locator, name: str, *, tls: bool, known: Callable[[], Place | None] = lambda: None
    ) -> None:
        self.service_name = name
        self.tls = tls
        self._locator = locator
        self._known = known
        self._is_wrong = False
        self.found: Place | None = None
        """Where it was found last."""

    def __json__(self) -> str:
        """Return what `inspect stats` shows of the transport options."""
        return self.service_name

    def get_master_address(self) -> Place:
        """Return the host and the port.

        Raises:
            redis.ConnectionError: No sentinel, or node, leads to it.
        """
        known = None if self._is_wrong else self._known()
        if known is None:
            try:
                known = self._locator.find()
            except OSError as error:
                raise redis.ConnectionError(str(error)) from error
        self.found, self._is_wrong = known, False
        return known

    def forget(self) -> None:
        """Note that what was known is wrong: it is looked for the next time."""
        self._is_wrong = True


def redis_client(
    url: str,
    *,
    sentinel_master: str | None = None,
    partitions: int | None = None,
    connections: int,
    patience: float = _PATIENCE,
    retries: int = _RETRIES,
) -> redis.Redis:
    """Return a client of the first partition: it answers in bytes, and tries again after a failure.

    It is given whole names of keys, and says what stands before each (`worker.clients.redis.keys.prefix_of`).

    Args:
        url: The broker's URL, in redis-py's spelling or Kombu's.
        sentinel_master: The master's name, if the URL names its sentinels. The client follows the master.
        partitions: How many there are; if None 16 on a cluster, and 1 on one Redis.
        connections: At the most; as many as there are threads.
        patience: Seconds to wait for each answer of Redis, and for a free connection.
        retries: How often it tries again after a failure, as long as ``patience`` is not used up.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it.
    """
    prefix = BrokerUrl.read(url, sentinel_master).prefixes(partitions)[0]
    pool = _pool(url, sentinel_master, prefix, connections=connections, patience=patience, retries=retries)
    return _client(pool, prefix)


def redis_partitions(
    url: str,
    *,
    sentinel_master: str | None = None,
    partitions: int | None = None,
    connections: int,
    patience: float = _PATIENCE,
    retries: int = _RETRIES,
) -> Partitions:
    """Return the clients of all partitions; arguments are those of `redis_client`.

    On one Redis they share their connections; in a cluster each has its own, as its partition may move by itself.

    Raises:
        ValueError: See `redis_client`.
    """
    broker = BrokerUrl.read(url, sentinel_master)
    options: dict[str, Any] = {"connections": connections, "patience": patience, "retries": retries}
    prefixes = broker.prefixes(partitions)
    if broker.cluster:
        clients = [_client(_pool(url, None, prefix, **options), prefix) for prefix in prefixes]
        return Partitions(clients, node=partial(_node, url=url, **options), patience=patience)
    pool = _pool(url, sentinel_master, "", **options)
    return Partitions([_client(pool, prefix) for prefix in prefixes])


def _pool(
    url: str,
    sentinel_master: str | None,
    prefix: str,
    *,
    connections: int,
    patience: float,
    retries: int,
    place: Place | None = None,
) -> redis.ConnectionPool:
    """Connections to the server that has a prefix's keys, or to the node of a cluster at a place."""
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": patience,
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "health_check_interval": 30,
        "retry": BoundedRetry(retries=retries, budget=patience) if retries else NO_RETRY,
        "retry_on_error": [redis.ConnectionError, redis.TimeoutError],
    }
    broker = BrokerUrl.read(url, sentinel_master)
    master = None if place else _master(url, sentinel_master, prefix)
    if master is not None:
        options |= {"connection_class": _managed_class(broker, tls=master.tls), "connection_pool": master}
    pool = redis.BlockingConnectionPool.from_url(broker.redis, **options)
    if place is not None:  # the URL names other nodes
        pool.connection_kwargs |= dict(zip(("host", "port"), place, strict=True))
    return pool


def _node(place: Place, *, url: str, **options: Any) -> redis.Redis:
    return redis.Redis.from_pool(_pool(url, None, "", place=place, **options))


def _client(pool: redis.ConnectionPool, prefix: str) -> redis.Redis:
    return with_prefix(redis.Redis.from_pool(pool), prefix)


def broker_client(settings: Settings, *, connections: int = 1, **options: Any) -> redis.Redis:
    """Return a client of the broker's first partition; see `redis_client` for its arguments."""
    return redis_client(**_where(settings), connections=connections, **options)


def broker_partitions(settings: Settings, *, connections: int = 1, **options: Any) -> Partitions:
    """Return the clients of all of the broker's partitions; see `redis_client` for its arguments."""
    return redis_partitions(**_where(settings), connections=connections, **options)


def recorded_partitions(
    url: str, *, sentinel_master: str | None = None, partitions: int | None = None, patience: float = _PATIENCE
) -> PartitionRecord:
    """Return what reads and writes the recorded number of partitions; arguments are those of `redis_client`."""
    broker = BrokerUrl.read(url, sentinel_master)
    pool = _pool(url, sentinel_master, RECORD, connections=1, patience=patience, retries=0)
    client = redis.Redis.from_pool(pool)
    return PartitionRecord(client, broker.prefixes(partitions), is_cluster=bool(broker.cluster))


def broker_record(settings: Settings, *, patience: float = _PATIENCE) -> PartitionRecord:
    """Return what reads and writes the recorded number of the broker's partitions; see `redis_client`."""
    return recorded_partitions(**_where(settings), patience=patience)


def _where(settings: Settings) -> dict[str, Any]:
    return {
        "url": settings.feedback_broker_url.get_secret_value(),
        "sentinel_master": settings.feedback_sentinel_master,
        "partitions": settings.feedback_partitions,
    }


def producer_options(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a producer that say which Redis it sends to, and what must have an event there."""
    return _where(settings) | {
        "replicas": settings.feedback_enqueue_replicas,
        "fsync": settings.feedback_enqueue_fsync,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class KombuBroker:
    """What Celery is to be told of the broker.

    Attributes:
        url: Its URL, without options: Kombu hands them on as strings, and some of them to what does not know them.
        transport_options: What belongs into Celery's ``broker_transport_options``.
        tls: Celery's ``broker_use_ssl``, which Flower reads as well; False without TLS.
    """

    url: str = field(repr=False)
    transport_options: dict[str, Any]
    tls: dict[str, Any] | bool


@dataclass(frozen=True, slots=True)
class PartitionAddress:
    """Where a partition is.

    Attributes:
        prefix: What stands before its keys.
        master: What finds its server, where it has to be found.
    """

    prefix: str
    master: Master | None

    def __json__(self) -> str:
        """Return what `inspect stats` shows of the transport options."""
        return self.prefix


def kombu_broker(url: str, *, sentinel_master: str | None = None, partitions: int | None = None) -> KombuBroker:
    """Return what Celery is to be told of the broker; arguments are those of `redis_client`.

    Raises:
        ValueError: See `redis_client`.
    """
    broker = BrokerUrl.read(url, sentinel_master)
    prefixes = broker.prefixes(partitions)
    addresses = tuple(PartitionAddress(prefix, _master(url, sentinel_master, prefix)) for prefix in prefixes)
    master = addresses[0].master
    named = {"client_name": broker.options.client_name} if broker.options.client_name else {}
    found_by: dict[str, Any] = {"master": master} if master else {}
    if sentinel_master:
        found_by["master_name"] = sentinel_master
    if prefixes[0]:
        found_by["global_keyprefix"] = prefixes[0]
    if len(prefixes) > 1:
        found_by["partitions"] = addresses
    return KombuBroker(url=broker.kombu, transport_options=named | found_by, tls=_tls(broker.options) or False)


def _tls(options: UrlOptions) -> dict[str, Any]:
    """redis-py's arguments for TLS, in the types that it takes them in."""
    if not options.tls:
        return {}
    return dict(options.tls) | {
        "ssl_cert_reqs": _CERT_REQS[options.tls["ssl_cert_reqs"]],
        "ssl_check_hostname": options.tls["ssl_check_hostname"] == "true",
    }


def _master(url: str, name: str | None, prefix: str) -> Master | None:
    address = Address(url, patience=_SENTINEL_PATIENCE, sentinel_master=name)
    locator = address.locator(prefix)
    if isinstance(locator, ClusterNodes):
        known = _KNOWN.setdefault(address.nodes, KnownOwners())
        locator.heard = known.learn
        return Master(locator, prefix, tls=address.tls, known=partial(known.place_of, slot_of(prefix)))
    return Master(locator, name or prefix, tls=address.tls) if locator else None


_KNOWN: Final[dict[tuple[Place, ...], KnownOwners]] = {}
"""What this process was told of clusters, by the nodes that their URLs name."""


def _managed_class(broker: BrokerUrl, *, tls: bool) -> type[SentinelManagedConnection]:
    if broker.cluster:
        return OwnerSSLConnection if tls else OwnerConnection
    return SentinelManagedSSLConnection if tls else SentinelManagedConnection
