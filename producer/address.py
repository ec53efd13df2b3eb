"""Where Redis is, how to log in to it, and how to name it without giving its password away."""

from __future__ import annotations

import codecs
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from producer.broker_url import BrokerUrl
from producer.cluster import ClusterNodes
from producer.locator import LocatedConnection
from producer.sentinels import Sentinels

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer._connection import Conversation, RedisConnection
    from producer.broker_url import Place
    from producer.locator import Locator

__all__ = ["Address"]

_OF_REDIS_ALONE: Final = ("username", "password", "db", "client_name")
"""Options that a connection to a sentinel does not share."""


class Address:
    """A Redis URL, read once.

    redis-py's spellings and Kombu's are both understood, because one URL serves the producer and the worker:
    ``ssl_cert_reqs=required`` and ``ssl_cert_reqs=CERT_REQUIRED``, ``unix:///path?db=1`` and
    ``redis+socket:///path?virtual_host=1``. The options of its query are those of `producer.url_options.ACCEPTED`; how
    long to wait, and how often to try, is decided here, because a producer has a budget to keep.

    With ``sentinel://host:port;sentinel://host:port/db`` the login, the database and the options are Redis's. Options
    that begin with ``ssl_`` turn TLS on, to the sentinels as well. Sentinels that want a login of their own are given
    ``sentinel_username`` and ``sentinel_password`` from the query.

    ``redis+cluster://host:port,host:port`` names nodes of a cluster, any of which leads to the others; with
    ``rediss+cluster://`` the connections are encrypted.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://``, ``sentinel://``, ``redis+cluster://`` or
            ``rediss+cluster://``.
        patience: How long each step of connecting may take, in seconds.
        sentinel_master: The name under which the sentinels watch the master, if the URL names sentinels.
        partitions: How many partitions the queue has; if None 16 on a cluster, and 1 on one Redis.

    Attributes:
        tls: Whether the connections are encrypted.
        patience: As it was given.
        prefixes: What stands before the keys of each partition; one Redis with a single one has no prefix.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it: a password may be anywhere in it.
    """

    def __init__(
        self, url: str, *, patience: float, sentinel_master: str | None = None, partitions: int | None = None
    ) -> None:
        # redis-py takes 0.1 s and more to import: a program that imports `producer` for an event or a message alone
        # need not wait for it.
        from redis.connection import Connection, SSLConnection  # noqa: PLC0415 - see above

        # The first look-up of a host imports this codec, in a thread: a process that forks just then would leave its
        # child a lock on the import that no thread will ever release.
        codecs.lookup("idna")
        broker = BrokerUrl.read(url, sentinel_master)
        options = _parsed(broker.redis)
        self._connection_class: Any = options.pop("connection_class", Connection)
        self._options = options | _how_to_connect(patience)
        self.tls = self._connection_class is SSLConnection
        self._shown = broker.shown
        self.patience = patience
        self.prefixes = broker.prefixes(partitions)
        self._cluster = broker.cluster
        self._sentinels = self._sentinels_of(broker, sentinel_master) if sentinel_master else None
        # The first connection that redis-py makes imports modules as well: one that never connects does so here.
        self._connection_to(self._options)

    def connection(self, key: str = "") -> RedisConnection:
        """Return a connection to the server that has a key, that has yet to connect."""
        locator = self.locator(key)
        return LocatedConnection(locator) if locator else self._connection_to(self._options)

    def node(self, place: Place, *, patience: float | None = None) -> Conversation:
        """Return a connection to one node of the cluster, that has yet to connect.

        ``patience`` is how long each step may take, in seconds, if less than usual.
        """
        within = self.patience if patience is None else min(patience, self.patience)
        return self._connection_to(self._options | _within(within), place)

    @property
    def nodes(self) -> tuple[Place, ...]:
        """The nodes that the URL names, if it is that of a cluster."""
        return self._cluster

    def locator(self, key: str) -> Locator | None:
        """Return what finds the server that has a key, if the URL names sentinels or a cluster."""
        return self._nodes(key) if self._cluster else self._sentinels

    def _sentinels_of(self, broker: BrokerUrl, master: str) -> Sentinels:
        shared = {name: value for name, value in self._options.items() if name not in _OF_REDIS_ALONE}
        of_sentinels = shared | _concealed(broker.options.sentinel_login) | {"decode_responses": True}

        return Sentinels(
            order=broker.sentinels,
            master=master,
            sentinel_at=partial(self._connection_to, of_sentinels),
            redis_at=partial(self._connection_to, self._options),
            tls=self.tls,
            patience=self.patience,
        )

    def _nodes(self, key: str) -> ClusterNodes:
        return ClusterNodes(
            key=key,
            order=self._cluster,
            named=self._cluster,
            redis_at=partial(self._connection_to, self._options),
            tls=self.tls,
            patience=self.patience,
        )

    def _connection_to(self, options: dict[str, Any], place: Place | None = None) -> Conversation:
        where = {} if place is None else {"host": place[0], "port": place[1]}
        connection: Conversation = self._connection_class(**options | where)
        return connection

    def __str__(self) -> str:
        return self._shown


def _parsed(url: str) -> dict[str, Any]:
    from redis import connection  # noqa: PLC0415 - importing redis-py is slow; see Address.__init__

    parse: Callable[[str], dict[str, Any]] = connection.parse_url
    return _concealed(parse(url))


class _Concealed(str):
    """A password that a traceback with variables, or a look at an object's attributes, does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _concealed(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _Concealed(value) if name == "password" else value for name, value in options.items()}


def _how_to_connect(patience: float) -> dict[str, Any]:
    """Connect once and not again, in the simpler protocol: no push message may come between two replies."""
    from redis.backoff import NoBackoff  # noqa: PLC0415 - importing redis-py is slow; see Address.__init__
    from redis.retry import Retry  # noqa: PLC0415 - importing redis-py is slow; see Address.__init__

    options = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "protocol": 2}
    return options | _within(patience)


def _within(patience: float) -> dict[str, Any]:
    return {"socket_timeout": patience, "socket_connect_timeout": patience}
