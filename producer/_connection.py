"""One connection to Redis, used by one call at a time and never past its deadline."""

from __future__ import annotations

import ssl
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from producer._forks import OPENSSL
from producer._readiness import READABLE, WRITABLE, poller
from producer.errors import BrokerUnavailable, EnqueueUncertain

if TYPE_CHECKING:
    import socket

    from producer._redis_connection import RedisConnection

__all__ = ["WOULD_BLOCK", "Connection", "said"]

WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises, plain or TLS, when there is nothing to do now."""

_TRUSTED_IDLE: Final = 60.0
"""Seconds for which an idle connection is believed. Routers forget quiet connections without telling either end, the
quickest of the common ones after 4 minutes."""

_READ_SIZE: Final = 65_536


class Connection:
    """A socket that has logged in to Redis.

    redis-py resolves, connects, encrypts and logs in; its per-operation timeouts can't keep a total deadline, so the
    one command of a producer goes over the socket directly.

    Args:
        owner: redis-py's connection, connected. Its socket is switched to non-blocking for good.
    """

    __slots__ = ("_inside", "_owner", "_poller", "_used_at", "socket")

    def __init__(self, owner: RedisConnection) -> None:
        self._owner = owner
        self.socket: socket.socket = owner._sock  # noqa: SLF001 - redis-py has no public way to its socket
        self.socket.setblocking(False)
        self._inside = OPENSSL if isinstance(self.socket, ssl.SSLSocket) else nullcontext()
        self._poller = poller(self.socket, READABLE)
        self.touch()

    @property
    def used_at(self) -> float:
        """When Redis answered on it last, on the clock of `time.monotonic`."""
        return self._used_at

    def usable(self) -> bool:
        """Tell whether an idle connection may be used: still open, nothing unread, and not idle for too long."""
        return not self._poller.poll(0) and time.monotonic() - self._used_at < _TRUSTED_IDLE

    def ask(self, command: bytes, deadline: float) -> bytes:
        """Send a command and return its reply of one line, without the line's end.

        After an error the connection must be closed: a late reply to this command may still arrive on it.

        Args:
            command: The whole command.
            deadline: When to give up, on the clock of `time.monotonic`.

        Raises:
            BrokerUnavailable: The command did not leave whole. Redis runs only whole commands.
            EnqueueUncertain: The command left, and no whole reply came.
        """
        try:
            self._send(command, deadline)
        except OSError as error:
            raise BrokerUnavailable(f"Redis does not take what is sent to it: {said(error)}") from error
        try:
            reply = self._receive(deadline)
        except OSError as error:
            raise EnqueueUncertain(f"no answer from Redis: {said(error)}") from error
        self.touch()
        return reply

    def touch(self) -> None:
        """Note that Redis has just answered on it."""
        self._used_at = time.monotonic()

    def send(self, data: memoryview) -> int:
        """Send what the socket takes now, and return how many bytes that was; raises `WOULD_BLOCK` if none."""
        with self._inside:
            return self.socket.send(data)

    def receive(self) -> bytes:
        """Return what has come; nothing if the connection is at its end. Raises `WOULD_BLOCK` if nothing has."""
        with self._inside:
            return self.socket.recv(_READ_SIZE)

    def close(self) -> None:
        """Close the socket; in a forked child without a message to Redis, as the parent goes on using its own."""
        self._owner.disconnect()

    def _send(self, command: bytes, deadline: float) -> None:
        left = memoryview(command)
        while left:
            try:
                left = left[self.send(left) :]
            except ssl.SSLWantReadError:
                self._wait(READABLE, deadline)
            except WOULD_BLOCK:
                self._wait(WRITABLE, deadline)

    def _receive(self, deadline: float) -> bytes:
        reply = b""
        while not reply.endswith(b"\r\n"):
            self._wait(READABLE, deadline)
            try:
                piece = self.receive()
            except WOULD_BLOCK:
                continue
            if not piece:
                raise ConnectionResetError("the connection was closed")
            reply += piece
        return reply[:-2]

    def _wait(self, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        waiting = self._poller if event == READABLE else poller(self.socket, event)
        if not waiting.poll(max(0.0, left * 1000)):
            raise TimeoutError("the time is up")


def said(error: BaseException) -> str:
    """Return what an error says, or at least its kind."""
    return str(error) or type(error).__name__
