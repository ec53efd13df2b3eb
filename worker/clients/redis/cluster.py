"""Connections to the primary of a cluster that has the queue's slot: they leave it when it has no longer.

And which node has which slots.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

if TYPE_CHECKING:
    from producer.broker_url import Place

__all__ = ["OwnerConnection", "OwnerSSLConnection", "SlotRange", "is_redirection", "slot_of_key", "slot_ranges"]

_SLOTS: Final = 16_384

_OF_A_CLUSTER = (AskError, ClusterDownError, TryAgainError)
"""Of these `MovedError` is an `AskError`."""


def is_redirection(reply: object) -> bool:
    """Return whether a reply says that the slot is elsewhere, or about to be: the command has run nowhere."""
    return isinstance(reply, _OF_A_CLUSTER)


class _LeavingOnRedirection:
    """A connection that takes a redirection for the loss of its server: the next one finds the slot."""

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]  # mixed into redis-py's connection classes, which have it
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        """Let the source of the address, a `worker.clients.redis.connections.Master`, ask for it the next time."""
        self.connection_pool.forget()  # type: ignore[attr-defined]  # likewise

    def read_response(self, *args: Any, **kwargs: Any) -> object:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]  # mixed into redis-py's connection classes, which have it
        except _OF_A_CLUSTER as error:
            if isinstance(error, (MovedError, ClusterDownError)):
                self._forget()
                self.disconnect()  # type: ignore[attr-defined]  # likewise
            raise redis.ConnectionError(f"the queue's slot is elsewhere, or moves: {error}") from error


class OwnerConnection(_LeavingOnRedirection, SentinelManagedConnection):
    """A connection to the primary; a `worker.clients.redis.connections.Master` says where that is."""


class OwnerSSLConnection(_LeavingOnRedirection, SentinelManagedSSLConnection):
    """The same, encrypted."""


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots that lie side by side on one primary.

    Attributes:
        first: The first of them.
        last: The last of them.
        primary: Where the primary is.
        replicas: Where its replicas are, as far as the node that was asked knows them.
    """

    first: int
    last: int
    primary: Place
    replicas: tuple[Place, ...] = ()


def slot_of_key(key: bytes) -> int:
    """Return the slot of a key: by what is between its first braces, if there is anything, and else by all of it.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    _, brace, behind = key.partition(b"{")
    tag, end, _ = behind.partition(b"}")
    return crc_hqx(tag if brace and end and tag else key, 0) % _SLOTS


def slot_ranges(client: redis.Redis) -> list[SlotRange]:
    """Ask a node of a cluster which node has which slots; raises `redis.RedisError` if it is unavailable."""
    asked = _asked(client)
    found: list[Any] = client.execute_command("CLUSTER", "SLOTS")
    return [
        SlotRange(int(first), int(last), *_nodes(nodes, asked))
        for first, last, *nodes in found
        if nodes  # a range whose nodes have all gone
    ]


def _nodes(nodes: list[Any], asked: str) -> tuple[Place, tuple[Place, ...]]:
    primary, *replicas = [(_host(host, asked), int(port)) for host, port, *_ in nodes]
    return primary, tuple(replicas)


def _host(host: bytes | None, asked: str) -> str:
    """A node that does not know how others reach it names no host, or ``?``: then it is that of the node asked."""
    return asked if host in {None, b"", b"?"} else bytes(host or b"").decode()


def _asked(client: redis.Redis) -> str:
    """The host that a client has connected to last."""
    options = client.connection_pool.connection_kwargs
    found = getattr(options.get("connection_pool"), "found", None)
    return str(found[0] if found else options.get("host", "127.0.0.1"))
