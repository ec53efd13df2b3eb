"""Connections with made-up replies, for what asks several servers where to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Talk", "failing"]


class Talk:
    """A connection of redis-py's.

    Args:
        reply_to: Makes the reply to a command, by its first word; or raises its error.

    Attributes:
        commands: What was sent.
        closed: Whether it was closed.
    """

    def __init__(self, reply_to: Callable[[str], Any]) -> None:
        self._reply_to = reply_to
        self.commands: list[tuple[str, ...]] = []
        self.closed = False

    def connect(self) -> None:
        """Do nothing."""

    def disconnect(self) -> None:
        """Note it."""
        self.closed = True

    def send_command(self, *words: str) -> None:
        """Note it."""
        self.commands.append(words)

    def read_response(self) -> Any:
        """Reply to the last command."""
        return self._reply_to(self.commands[-1][0])


def failing(error: Exception) -> Callable[[], Any]:
    """Return what raises an error."""

    def fail() -> Any:
        raise error

    return fail
