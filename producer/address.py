"""Where Redis is, how to log in to it, and how to name it without giving its password away."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Address", "RedisConnection", "redis_url"]

_SCHEMES: Final = ("redis", "rediss", "unix", "redis+socket")
_SOCKET_SCHEMES: Final = ("unix", "redis+socket")
_KOMBU_CERT: Final = "CERT_"
_POOL_OPTIONS: Final = ("max_connections", "timeout")


class RedisConnection(Protocol):
    """What the producer uses of redis-py's connections; a test pins it on the installed version."""

    _sock: socket.socket

    def connect(self) -> None:
        """Resolve, connect, encrypt and log in."""

    def disconnect(self) -> None:
        """Close the socket; in a forked child without shutting down the parent's."""


class Address:
    """A Redis URL, read once.

    redis-py's spellings and Kombu's are both understood, because one URL serves the producer and the worker:
    ``ssl_cert_reqs=required`` and ``ssl_cert_reqs=CERT_REQUIRED``, ``unix:///path?db=1`` and
    ``redis+socket:///path?virtual_host=1``.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+socket://``, with redis-py's options as its query.
        patience: How long each step of connecting may take, in seconds.

    Attributes:
        tls: Whether the connections are encrypted.

    Raises:
        ValueError: The URL can't be read. The message never repeats any of it: a password may be anywhere in it.
    """

    def __init__(self, url: str, *, patience: float) -> None:
        # redis-py takes 0.1 s and more to import: whoever imports `producer` for an event or a message alone
        # need not wait for it.
        from redis.connection import Connection, SSLConnection  # noqa: PLC0415 - see above

        # The first look-up of a host imports this codec, in a thread: a process that forks just then would leave its
        # child a lock on the import that nobody will ever release.
        codecs.lookup("idna")
        parts = _split(url)
        options = _parsed(parts)
        self._connection_class: Any = options.pop("connection_class", Connection)
        self._options = options | _how_to_connect(patience)
        self.tls = self._connection_class is SSLConnection
        if self.tls and options.get("ssl_cert_reqs") != "none":
            self._options.setdefault("ssl_check_hostname", True)  # redis-py 5 does not unless it is told to
        self._shown = _masked(parts)
        self.patience = patience
        self._try_options()

    def connection(self) -> RedisConnection:
        """Return a connection of redis-py's that has yet to connect."""
        connection: RedisConnection = self._connection_class(**self._options)
        return connection

    def _try_options(self) -> None:
        """Find an option that redis-py refuses now, and not at the first event."""
        from redis.exceptions import RedisError  # noqa: PLC0415 - as in __init__

        try:
            self.connection()
        except (TypeError, RedisError):
            names = ", ".join(sorted(self._options))
            raise _unreadable(f"redis-py refuses one of its options; they are {names}") from None

    def __str__(self) -> str:
        return self._shown


def redis_url(url: str) -> str:
    """Return a broker's URL as redis-py spells it, from its own spelling or Kombu's.

    Raises:
        ValueError: As of `Address`.
    """
    return _in_redis_spelling(_split(url))


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise _unreadable("its host and port can't be told; percent-encode the password") from None
    if parts.scheme not in _SCHEMES:
        raise _unreadable(f"expected one that begins with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
    if parts.fragment:
        raise _unreadable('it has a "#"; percent-encode the password')
    if parts.scheme not in _SOCKET_SCHEMES and not re.fullmatch(r"/?\d*", parts.path):
        raise _unreadable("its path is not the number of a database")
    return parts


def _parsed(parts: SplitResult) -> dict[str, Any]:
    from redis import connection  # noqa: PLC0415 - as in Address.__init__

    parse: Callable[[str], dict[str, Any]] = connection.parse_url
    try:
        options = parse(_in_redis_spelling(parts))
    except ValueError as error:  # redis-py names the option and not its value
        raise _unreadable(str(error)) from None
    return {name: value for name, value in options.items() if name not in _POOL_OPTIONS}


def _in_redis_spelling(parts: SplitResult) -> str:
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if query.get("ssl_cert_reqs", "").startswith(_KOMBU_CERT):
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].removeprefix(_KOMBU_CERT).lower()
    scheme = "unix" if parts.scheme in _SOCKET_SCHEMES else parts.scheme
    if "virtual_host" in query:
        query["db"] = query.pop("virtual_host").removeprefix("/")
    return f"{scheme}://{parts.netloc}{parts.path}?{urlencode(query)}"


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


def _masked(parts: SplitResult) -> str:
    """The URL without its password, and without its query, where redis-py takes passwords as well."""
    login, _, place = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    shown_login = f"{user}:***@" if colon else f"{user}@" if login else ""
    return f"{parts.scheme}://{shown_login}{place}{parts.path}"


def _unreadable(reason: str) -> ValueError:
    return ValueError(f"the broker's URL can't be read: {reason}")
