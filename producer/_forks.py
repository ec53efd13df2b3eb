"""What a fork waits for, so that the child can use TLS.

OpenSSL locks what its threads share while they are inside it. A child that is forked just then inherits such a lock
without the thread that would release it, and hangs in its own first handshake for ever. Python can't help that for
all of a process's threads; this package can for its own.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPENSSL"]

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


OPENSSL: Final = _OpenSSL()
os.register_at_fork(
    before=OPENSSL.before, after_in_parent=OPENSSL.after_in_parent, after_in_child=OPENSSL.after_in_child
)
