"""One connection to Redis: opened in a thread of its own, used by one call at a time, never past its deadline."""

from __future__ import annotations

import select
import ssl
import time
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Final

from producer.errors import BrokerUnavailable, EnqueueUncertain
from producer.resp import PING

if TYPE_CHECKING:
    import socket

    from producer.address import Address, RedisConnection

__all__ = ["WOULD_BLOCK", "Connection", "dial"]

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

    __slots__ = ("_owner", "_poller", "_used_at", "socket")

    def __init__(self, owner: RedisConnection) -> None:
        self._owner = owner
        self.socket: socket.socket = owner._sock  # noqa: SLF001 - redis-py has no other way to it
        self.socket.setblocking(False)
        # poll, because select can't watch a file descriptor above 1023.
        self._poller = select.poll()
        self._poller.register(self.socket, select.POLLIN)
        self.touch()

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
            raise BrokerUnavailable(f"Redis does not take what is sent to it: {_said(error)}") from error
        try:
            reply = self._receive(deadline)
        except OSError as error:
            raise EnqueueUncertain(f"no answer from Redis: {_said(error)}") from error
        self.touch()
        return reply

    def touch(self) -> None:
        """Note that Redis has just answered on it."""
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Close the socket; in a forked child without a word to Redis, as the parent goes on using its own."""
        self._owner.disconnect()

    def _send(self, command: bytes, deadline: float) -> None:
        left = memoryview(command)
        while left:
            try:
                left = left[self.socket.send(left) :]
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except WOULD_BLOCK:
                self._wait(select.POLLOUT, deadline)

    def _receive(self, deadline: float) -> bytes:
        reply = b""
        while not reply.endswith(b"\r\n"):
            self._wait(select.POLLIN, deadline)
            try:
                piece = self.socket.recv(_READ_SIZE)
            except WOULD_BLOCK:
                continue
            if not piece:
                raise ConnectionResetError("the connection was closed")
            reply += piece
        return reply[:-2]

    def _wait(self, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        if event == select.POLLIN:
            ready = self._poller.poll(max(0.0, left * 1000))
        else:
            writable = select.poll()
            writable.register(self.socket, event)
            ready = writable.poll(max(0.0, left * 1000))
        if not ready:
            raise TimeoutError("the time is up")


def dial(address: Address) -> Future[Connection]:
    """Connect in a thread: resolving a name can't be given a deadline, so whoever waits must be able to walk away.

    Returns:
        The connection to come, or its `BrokerUnavailable`.
    """
    future: Future[Connection] = Future()
    try:
        Thread(target=_dial, args=(address, future), name="feedback-dial", daemon=True).start()
    except RuntimeError as error:  # no more threads, or the interpreter is on its way out
        future.set_exception(BrokerUnavailable(f"can't connect: {error}"))
    return future


def _dial(address: Address, future: Future[Connection]) -> None:
    try:
        future.set_result(_connect(address))
    except BaseException as error:  # noqa: BLE001 - whoever waits for the future must hear of it
        unavailable = BrokerUnavailable(f"can't connect to {address}: {_said(error)}")
        unavailable.__cause__ = error
        future.set_exception(unavailable)


def _connect(address: Address) -> Connection:
    owner = address.connection()
    try:
        owner.connect()
        connection = Connection(owner)
        # A frozen server accepts connections all the same: only one that has answered is worth an event.
        connection.ask(PING, time.monotonic() + address.patience)
    except BaseException:
        owner.disconnect()
        raise
    return connection


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
