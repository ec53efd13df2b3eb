"""What the producer uses of redis-py's connections; its tests run it on the installed version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket

__all__ = ["Conversation", "RedisConnection"]


class RedisConnection(Protocol):
    """A connection that redis-py opens and closes."""

    @property
    def _sock(self) -> socket.socket:
        """Its socket, once it is connected."""

    def connect(self) -> None:
        """Resolve, connect, encrypt and log in."""

    def disconnect(self) -> None:
        """Close the socket; in a forked child without shutting down the parent's."""


class Conversation(RedisConnection, Protocol):
    """A connection on which redis-py also writes commands and reads replies."""

    def send_command(self, *words: str) -> None:
        """Send one command."""

    def read_response(self) -> list[Any] | None:
        """Return the reply, of a command that replies with a list or with nothing; raise it if it is an error."""
