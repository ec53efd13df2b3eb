"""How a task that waits lets others have their turn, where many take turns in one thread (`worker.loop`).

In any other thread a task waits by itself, and nobody has to know of this.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable

    SocketOptions = Iterable[tuple[int, int, Any]]

__all__ = ["Turns", "Waiter", "aside", "here", "take_turns_here"]

P = ParamSpec("P")
T = TypeVar("T")


class Waiter(Protocol):
    """What one task waits for, once."""

    def get(self) -> Any:  # noqa: ANN401 - nothing that is looked at
        """Let others have their turn until somebody has woken this one."""


class Turns(Protocol):
    """A thread in which tasks take turns."""

    def waiter(self) -> Waiter:
        """Return what the task that asks can wait for."""

    def wake(self, waiters: Iterable[Waiter]) -> None:
        """Let the tasks that wait go on, each in its turn; from any thread."""

    def begin(self, call: Callable[[], None]) -> None:
        """Let one more task run in this thread, beside those that it was given; called there."""

    def aside(self, call: Callable[[], T]) -> T:
        """Run a call that blocks in another thread, and return what it returns, or raise what it raises."""

    def connect(self, address: tuple[str, int], *, timeout: float | None, options: SocketOptions) -> socket.socket:
        """Return a TCP connection on which a task lets others have their turn while it waits.

        Args:
            address: Host and port.
            timeout: Seconds for each of the host's addresses.
            options: Of the socket: level, name and value.

        Raises:
            OSError: There is no connection.
        """

    def adopt(self, sock: socket.socket) -> socket.socket:
        """Return a connection that blocks as one on which a task lets others have their turn; the old one is gone."""

    @property
    def tls_context(self) -> ssl.SSLContext:
        """A context for clients, with which such a connection is encrypted."""

    def at_stop(self, close: Callable[[], None]) -> None:
        """Call this, in this thread, once no task runs any more; once, however often it is asked for."""


_local = threading.local()


def here() -> Turns | None:
    """Return the turns that are taken in this thread; None if none are."""
    return getattr(_local, "turns", None)


def take_turns_here(turns: Turns) -> None:
    """Say that tasks take turns in this thread, from now on."""
    _local.turns = turns


def aside(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call what blocks: in another thread if tasks take turns in this one, and else here and now.

    Args:
        call: A call that another thread may make.
        args: Its arguments.
        kwargs: Likewise.
    """
    turns = here()
    return call(*args, **kwargs) if turns is None else turns.aside(lambda: call(*args, **kwargs))
