"""Threads of the operating system, also where gevent or eventlet has patched Python's `threading`.

Celery's pools `gevent` and `eventlet` run everything in one thread. Code that must go on while that thread is blocked
needs a thread, and a sleep, that they do not replace.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["sleep", "start_thread"]


def start_thread(call: Callable[[], object]) -> None:
    """Run a call in a new daemon thread. Safe to call from a signal handler."""
    _original("_thread", "start_new_thread")(call, ())


def sleep(seconds: float) -> None:
    """Block the operating system's thread."""
    _original("time", "sleep")(seconds)


def _original(module: str, name: str) -> Callable[..., Any]:
    """Return a module's function as it was before it was patched."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent and gevent.is_module_patched("threading"):
        found: Callable[..., Any] = gevent.get_original(module, name)
    elif eventlet and eventlet.is_monkey_patched("thread"):
        found = getattr(eventlet.original(module), name)
    else:
        found = getattr(sys.modules[module], name)
    return found
