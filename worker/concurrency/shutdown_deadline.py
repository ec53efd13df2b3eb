"""One deadline for everything that a worker does from the signal that stops it to its end.

Each step of leaving may talk to a Redis or a database that hangs, and has a timeout of its own: Celery's blueprint, the
connections and their channels, the leases, threads that are joined as Python exits. Their sum is no promise. So a
thread counts from the signal on, and ends the process when the time is up, wherever it is then.

Nothing is lost by that: what was not acknowledged stays in Redis, and comes back to the queue when its lease ends.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MARGIN", "ShutdownDeadline"]

log = logging.getLogger(__name__)

MARGIN: Final = 3.0
"""Seconds beyond FEEDBACK_SHUTDOWN_TIMEOUT, for returning messages and closing connections."""

_LOOK_EVERY: Final = 0.05
_LONGEST_WORD: Final = 1.0
"""Seconds that the last log lines may take: the log may be a pipe that is full, or locked by a thread that hangs."""


class ShutdownDeadline:
    """Ends the process when leaving takes too long.

    Args:
        last_message: Returns what to log then.
        before_exit: Called before the process ends; it must not block.
        exit_process: Ends the process at once.
    """

    def __init__(
        self,
        last_message: Callable[[], str],
        *,
        before_exit: Callable[[], None] = lambda: None,
        exit_process: Callable[[int], object] = os._exit,  # Python's own exit would join threads that hang
    ) -> None:
        self._last_message = last_message
        self._before_exit = before_exit
        self._exit = exit_process
        self._ends_at: float | None = None
        self._called_off = False
        self._said = False

    @property
    def left(self) -> float:
        """Seconds until the end; endless before the worker was told to stop."""
        return float("inf") if self._ends_at is None else self._ends_at - time.monotonic()

    def begin(self, within: float) -> None:
        """Count from now on. Called again, it only ever shortens the time.

        A signal's handler may call it: it takes no lock.

        Args:
            within: Seconds.
        """
        ends_at = time.monotonic() + within
        first = self._ends_at is None
        self._ends_at = ends_at if self._ends_at is None else min(self._ends_at, ends_at)
        if first:
            _start_thread(self._watch)

    def call_off(self) -> None:
        """Let the process live on: the worker has stopped, and was only a part of it."""
        self._called_off = True

    def _watch(self) -> None:
        while self.left > 0 and not self._called_off:
            _sleep(max(min(self.left, _LOOK_EVERY), 0))
        if self._called_off:
            return
        _start_thread(self._speak)
        until = time.monotonic() + _LONGEST_WORD
        while not self._said and time.monotonic() < until:
            _sleep(_LOOK_EVERY)
        with suppress(Exception):
            self._before_exit()
        self._exit(os.EX_OK)

    def _speak(self) -> None:
        try:
            log.warning("%s", self._last_message())
        finally:
            self._said = True


def _start_thread(call: Callable[[], object]) -> None:
    """Run a call in a new daemon thread. Safe to call from a signal handler."""
    _original("_thread", "start_new_thread")(call, ())


def _sleep(seconds: float) -> None:
    """Block the operating system's thread."""
    _original("time", "sleep")(seconds)


def _original(module: str, name: str) -> Callable[..., Any]:
    """Return a function as it was before gevent or eventlet patched it: with their pools one thread runs all."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent and gevent.is_module_patched("threading"):
        found: Callable[..., Any] = gevent.get_original(module, name)
    elif eventlet and eventlet.is_monkey_patched("thread"):
        found = getattr(eventlet.original(module), name)
    else:
        found = getattr(sys.modules[module], name)
    return found
