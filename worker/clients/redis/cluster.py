"""Connections to the primary of a cluster that has the queue's slot: they leave it when it has no longer.

And which node has which slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import redis
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from producer.cluster import slot_ranges

if TYPE_CHECKING:
    from producer.broker_url import Place
    from producer.cluster import SlotRange

__all__ = ["OwnerConnection", "OwnerSSLConnection", "ask_slot_ranges", "is_redirection"]

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


def ask_slot_ranges(client: redis.Redis) -> list[SlotRange]:
    """Ask a node of a cluster which node has which slots; raises `redis.RedisError` if it is unavailable."""
    found: list[Any] = client.execute_command("CLUSTER", "SLOTS")
    return slot_ranges(found, _asked(client))


def _asked(client: redis.Redis) -> Place:
    """Where a client has connected to last."""
    options = client.connection_pool.connection_kwargs
    found: Place | None = getattr(options.get("connection_pool"), "found", None)
    return found or (str(options.get("host", "127.0.0.1")), int(options.get("port", 0)))
