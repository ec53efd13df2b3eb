"""What code that waits needs of a scheduler: to yield to the other tasks of its thread, and to run blocking calls.

In a thread without a scheduler a task blocks its own thread, and needs none of this.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable

__all__ = ["Scheduler", "Waiter", "current_scheduler", "run_in_thread", "set_current_scheduler"]

P = ParamSpec("P")
T = TypeVar("T")


class Waiter(Protocol):
    """One wait of one task."""

    def get(self) -> object:
        """Yield to the other tasks until this waiter is woken."""

    def switch(self, value: None, /) -> object:
        """Resume the task at once; in the scheduler's thread."""


class Scheduler(Protocol):
    """Runs many tasks in one thread; a task that waits yields to the others."""

    def waiter(self) -> Waiter:
        """Return what the calling task can wait for."""

    def wait_outside_limit(self, waiter: Waiter, *, timeout: float | None) -> bool:
        """Wait as `Waiter.get`, without counting towards the limit on deliveries; return whether it was woken in time.

        Args:
            waiter: What the calling task waits for.
            timeout: In seconds; None for as long as it takes.
        """

    def wake_threadsafe(self, waiters: Iterable[Waiter]) -> None:
        """Resume the tasks that wait for these; may be called from any thread."""

    def spawn(self, call: Callable[[], None]) -> None:
        """Run one more task in this thread, outside the limit on deliveries; called in this thread."""

    def run_in_thread(self, call: Callable[[], T]) -> T:
        """Run a blocking call in another thread; return what it returns, or raise what it raises."""

    def adopt_socket(self, sock: socket.socket) -> socket.socket:
        """Return a blocking connection as one that yields to the other tasks; the old object is detached."""

    @property
    def tls_context(self) -> ssl.SSLContext:
        """A client's TLS context for such sockets."""

    def add_cleanup(self, close: Callable[[], None]) -> None:
        """Call this in the scheduler's thread when it stops; once, however often it is added."""


_local = threading.local()


def current_scheduler() -> Scheduler | None:
    """Return the scheduler of this thread; None if it has none."""
    return getattr(_local, "scheduler", None)


def set_current_scheduler(scheduler: Scheduler) -> None:
    """Register the scheduler of this thread."""
    _local.scheduler = scheduler


def run_in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call: in another thread if this one has a scheduler, otherwise directly.

    Args:
        call: Must be safe to call from another thread.
        args: Its arguments.
        kwargs: Its keyword arguments.
    """
    scheduler = current_scheduler()
    return call(*args, **kwargs) if scheduler is None else scheduler.run_in_thread(lambda: call(*args, **kwargs))
