"""Waiting until a socket can be read or written, where `select.poll` may be missing.

eventlet takes it away from a process that it patches, and gives a `select.select` that lets others run.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import socket

__all__ = ["READABLE", "WRITABLE", "SocketPoller", "poller"]

READABLE: Final = 0x001
WRITABLE: Final = 0x004
"""As POLLIN and POLLOUT have it."""


class SocketPoller(Protocol):
    """What waits for one socket; as `select.poll` has it."""

    def poll(self, timeout: float, /) -> list[Any]:
        """Return something if the socket is ready, or failed; and nothing after so many milliseconds."""


class _Select:
    """The same by `select.select`."""

    def __init__(self, sock: socket.socket, event: int) -> None:
        self._to_read = [sock] if event == READABLE else []
        self._to_write = [sock] if event == WRITABLE else []

    def poll(self, timeout: float, /) -> list[Any]:
        """Wait; see `SocketPoller`."""
        readable, writable, _ = select.select(self._to_read, self._to_write, [], timeout / 1000)
        return [*readable, *writable]


def poller(sock: socket.socket, event: int) -> SocketPoller:
    """Return what waits for a socket."""
    if not hasattr(select, "poll"):
        return _Select(sock, event)
    watching = select.poll()  # select can't watch a file descriptor above 1023
    watching.register(sock, event)
    return watching
