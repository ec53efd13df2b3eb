"""Connections to the primary of a cluster that has the queue's slot: they leave it when it has no longer."""

from __future__ import annotations

from typing import Any

import redis
from redis.exceptions import AskError, ClusterDownError, MovedError, TryAgainError
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

__all__ = ["OwnerConnection", "OwnerSSLConnection", "is_redirection"]

_OF_A_CLUSTER = (AskError, ClusterDownError, TryAgainError)
"""Of these `MovedError` is an `AskError`."""


def is_redirection(reply: object) -> bool:
    """Return whether a reply says that the slot is elsewhere, or about to be: the command has run nowhere."""
    return isinstance(reply, _OF_A_CLUSTER)


class _LeavingOnRedirection:
    """A connection that takes a redirection for the loss of its server: the next one finds the slot."""

    def read_response(self, *args: Any, **kwargs: Any) -> object:
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]  # mixed into redis-py's connection classes, which have it
        except _OF_A_CLUSTER as error:
            if isinstance(error, (MovedError, ClusterDownError)):
                self.disconnect()  # type: ignore[attr-defined]  # likewise
            raise redis.ConnectionError(f"the queue's slot is elsewhere, or moves: {error}") from error


class OwnerConnection(_LeavingOnRedirection, SentinelManagedConnection):
    """A connection to the primary; a `worker.clients.redis.connections.Master` says where that is."""


class OwnerSSLConnection(_LeavingOnRedirection, SentinelManagedSSLConnection):
    """The same, encrypted."""
