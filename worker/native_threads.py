"""Threads of the operating system, also where gevent or eventlet has replaced Python's by its own.

Under Celery's pools `gevent` and `eventlet` everything shares one thread. What must go on while that one is stuck needs
a thread that is none of theirs, and in it nothing that waits in their way.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["sleep", "start_thread"]


def start_thread(call: Callable[[], object]) -> None:
    """Run a call in a new thread that keeps no process from ending. It may be started in a signal's handler."""
    _original("_thread", "start_new_thread")(call, ())


def sleep(seconds: float) -> None:
    """Let the operating system's thread sleep."""
    _original("time", "sleep")(seconds)


def _original(module: str, name: str) -> Any:  # noqa: ANN401 - whatever the module has under that name
    """Return a function as it was before anything was patched."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent and gevent.is_module_patched("threading"):
        return gevent.get_original(module, name)
    if eventlet and eventlet.is_monkey_patched("thread"):
        return getattr(eventlet.original(module), name)
    return getattr(sys.modules[module], name)
