"""Forks: what a fork waits for, so that the child can use TLS, and children of which Python knows nothing.

OpenSSL locks what its threads share while they are inside it. A child that is forked just then inherits such a lock
without the thread that would release it, and hangs in its own first handshake for ever. Python can't help that for
all of a process's threads; this package can for its own.

A server that forks in C calls the hooks of `os.register_at_fork` only if it means to: uWSGI does with its option
``py-call-uwsgi-fork-hooks`` alone. So each call of a producer makes sure that they ran in this process.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from threading import Condition, Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OPENSSL", "in_each_child", "notice_fork"]

_THREAD_ENDS: Final = 0.02
"""Seconds after a handshake in which its thread leaves OpenSSL for good, with a lock in its hand for a moment. Python
has no way to wait for that; it takes microseconds."""

_FORK_WAITS: Final = 1.0
"""Seconds for which a fork waits for handshakes at most. One that takes longer waits for the network, and not with a
lock in its hand."""


class _OpenSSL:
    """The threads of this package that are inside OpenSSL. Used with ``with``, for calls that do not block."""

    def __init__(self) -> None:
        self.after_in_child()

    def __enter__(self) -> None:
        self._free.acquire()

    def __exit__(self, *_: object) -> None:
        self._free.release()

    @contextmanager
    def handshake(self) -> Iterator[None]:
        """Set up a session. It may block, so others go on meanwhile, and a fork waits for it a while only."""
        with self._free:
            self._handshakes += 1
        try:
            yield
        finally:
            with self._free:
                self._handshakes -= 1
                self._ended_at = time.monotonic()
                self._free.notify_all()

    def before(self) -> None:
        """Block new threads until the fork is over, and wait for those inside."""
        self._free.acquire()
        self._free.wait_for(lambda: not self._handshakes, timeout=_FORK_WAITS)
        time.sleep(max(0.0, self._ended_at + _THREAD_ENDS - time.monotonic()))

    def after_in_parent(self) -> None:
        """Let everybody go on."""
        self._free.release()

    def after_in_child(self) -> None:
        """Reset the count of those inside: a child has none of its parent's threads."""
        self._free = Condition()
        self._handshakes = 0
        self._ended_at = -math.inf


class _Children:
    """What is to be done in a child before it uses what it has inherited."""

    def __init__(self) -> None:
        self.hooks: list[Callable[[], None]] = []
        self.process = os.getpid()
        self.noticing = Lock()

    def after_in_child(self) -> None:
        self.process = os.getpid()
        self.noticing = Lock()


_CHILDREN: Final = _Children()
os.register_at_fork(after_in_child=_CHILDREN.after_in_child)


def in_each_child(hook: Callable[[], None]) -> None:
    """Let a function be called in each child after a fork, by Python or else by `notice_fork`."""
    _CHILDREN.hooks.append(hook)
    os.register_at_fork(after_in_child=hook)


def notice_fork() -> None:
    """Call what is to be called in a child, if this is one and Python was not told of the fork."""
    if os.getpid() != _CHILDREN.process:
        with _CHILDREN.noticing:
            if os.getpid() != _CHILDREN.process:
                for hook in _CHILDREN.hooks:
                    hook()
                _CHILDREN.process = os.getpid()


OPENSSL: Final = _OpenSSL()
os.register_at_fork(before=OPENSSL.before, after_in_parent=OPENSSL.after_in_parent)
in_each_child(OPENSSL.after_in_child)
