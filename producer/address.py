"""Where Redis is, how to log in to it, and how to name it without giving its password away."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

from producer.broker_url import BrokerUrl, unreadable
from producer.sentinels import MasterConnection, Sentinels

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer.broker_url import Place
    from producer.redis_connection import Conversation, RedisConnection

__all__ = ["Address"]

_POOL_OPTIONS: Final = ("max_connections", "timeout")
_OF_REDIS_ALONE: Final = ("username", "password", "db", "client_name", "credential_provider")
"""Options that a connection to a sentinel does not share."""


class Address:
    """A Redis URL, read once.

    redis-py's spellings and Kombu's are both understood, because one URL serves the producer and the worker:
    ``ssl_cert_reqs=required`` and ``ssl_cert_reqs=CERT_REQUIRED``, ``unix:///path?db=1`` and
    ``redis+socket:///path?virtual_host=1``.

    With ``sentinel://host:port;sentinel://host:port/db`` the login, the database and the options are Redis's. Options
    that begin with ``ssl_`` turn TLS on, to the sentinels as well. Sentinels that want a login of their own are given
    ``sentinel_username`` and ``sentinel_password`` from the query.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, ``redis+socket://`` or ``sentinel://``, with redis-py's options
            as its query.
        patience: How long each step of connecting may take, in seconds.
        sentinel_master: The name under which the sentinels watch the master, if the URL names sentinels.

    Attributes:
        tls: Whether the connections are encrypted.
        patience: As it was given.
        sentinels: Whom to ask for the master, if the URL names sentinels.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it: a password may be anywhere in it.
    """

    def __init__(self, url: str, *, patience: float, sentinel_master: str | None = None) -> None:
        # redis-py takes 0.1 s and more to import: whoever imports `producer` for an event or a message alone
        # need not wait for it.
        from redis.connection import Connection, SSLConnection  # noqa: PLC0415 - see above

        # The first look-up of a host imports this codec, in a thread: a process that forks just then would leave its
        # child a lock on the import that nobody will ever release.
        codecs.lookup("idna")
        broker = BrokerUrl.read(url, sentinel_master)
        options = _parsed(broker.redis)
        self._connection_class: Any = options.pop("connection_class", Connection)
        self._options = options | _how_to_connect(patience)
        self.tls = self._connection_class is SSLConnection
        if self.tls and options.get("ssl_cert_reqs") != "none":
            self._options.setdefault("ssl_check_hostname", True)  # redis-py 5 does not unless it is told to
        self._shown = broker.shown
        self.patience = patience
        self.sentinels = self._ask_at(broker, sentinel_master) if sentinel_master else None
        self._try_options()

    def connection(self) -> RedisConnection:
        """Return a connection that has yet to connect."""
        return self._redis() if self.sentinels is None else MasterConnection(self.sentinels)

    def _ask_at(self, broker: BrokerUrl, master: str) -> Sentinels:
        shared = {name: value for name, value in self._options.items() if name not in _OF_REDIS_ALONE}
        of_sentinels = shared | broker.sentinel_login | {"decode_responses": True}

        def sentinel_at(place: Place) -> Conversation:
            host, port = place
            sentinel: Conversation = self._connection_class(**of_sentinels | {"host": host, "port": port})
            return sentinel

        def redis_at(place: Place) -> Conversation:
            host, port = place
            return self._redis(host=host, port=port)

        return Sentinels(
            broker.sentinels, master, sentinel_at=sentinel_at, redis_at=redis_at, tls=self.tls, patience=self.patience
        )

    def _redis(self, **place: Any) -> Conversation:  # noqa: ANN401 - a host and a port
        connection: Conversation = self._connection_class(**self._options | place)
        return connection

    def _try_options(self) -> None:
        """Find an option that redis-py refuses now, and not at the first event."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - as in __init__

        try:
            self._redis()
        except (TypeError, RedisError):
            names = ", ".join(sorted(self._options))
            raise unreadable(f"redis-py refuses one of its options; they are {names}") from None

    def __str__(self) -> str:
        return self._shown


def _parsed(url: str) -> dict[str, Any]:
    from redis import connection  # noqa: PLC0415 - as in Address.__init__

    parse: Callable[[str], dict[str, Any]] = connection.parse_url
    try:
        options = parse(url)
    except ValueError as error:  # redis-py names the option and not its value
        raise unreadable(str(error)) from None
    return {name: value for name, value in options.items() if name not in _POOL_OPTIONS}


def _how_to_connect(patience: float) -> dict[str, Any]:
    """Connect once and not again, in the simpler protocol: no push message may come between two replies."""
    from redis.backoff import NoBackoff  # noqa: PLC0415 - as in Address.__init__
    from redis.retry import Retry  # noqa: PLC0415 - as in Address.__init__

    return {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "protocol": 2,
    }
