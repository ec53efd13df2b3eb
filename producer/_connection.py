"""Connections to Redis: each is dialled in a thread of its own, and used by one call at a time within its deadline."""

from __future__ import annotations

import select
import ssl
import time
from concurrent.futures import Future
from contextlib import nullcontext
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

from producer._forks import OPENSSL
from producer._resp import PING
from producer.errors import BrokerUnavailable, EnqueueUncertain

if TYPE_CHECKING:
    import socket

    from producer.address import Address

__all__ = [
    "READABLE",
    "WOULD_BLOCK",
    "WRITABLE",
    "Connection",
    "Conversation",
    "RedisConnection",
    "dial",
    "poller",
    "said",
]

READABLE: Final = 0x001
WRITABLE: Final = 0x004
"""As POLLIN and POLLOUT have it."""

WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises, plain or TLS, when there is nothing to do now."""

_TRUSTED_IDLE: Final = 60.0
"""Seconds for which an idle connection is believed. Routers forget quiet connections without telling either end, the
quickest of the common ones after 4 minutes."""

_READ_SIZE: Final = 65_536


class RedisConnection(Protocol):
    """What the producer uses of redis-py's connections; its tests run it on the installed version."""

    @property
    def _sock(self) -> socket.socket:
        """Its socket, once it is connected."""

    def connect(self) -> None:
        """Resolve, connect, encrypt and log in."""

    def disconnect(self) -> None:
        """Close the socket; in a forked child without shutting down the parent's."""


class Conversation(RedisConnection, Protocol):
    """A connection on which redis-py also writes commands and reads replies."""

    def send_command(self, *words: str) -> None:
        """Send one command."""

    def read_response(self) -> list[Any] | None:
        """Return the reply, of a command that replies with a list or with nothing; raise it if it is an error."""


class Connection:
    """A socket that has logged in to Redis.

    redis-py resolves, connects, encrypts and logs in; its per-operation timeouts can't keep a total deadline, so the
    one command of a producer goes over the socket directly.

    Args:
        owner: redis-py's connection, connected. Its socket is switched to non-blocking for good.

    Attributes:
        used_at: When Redis answered on it last, on the clock of `time.monotonic`.
    """

    __slots__ = ("_inside", "_owner", "_poller", "socket", "used_at")

    def __init__(self, owner: RedisConnection) -> None:
        self._owner = owner
        self.socket: socket.socket = owner._sock  # noqa: SLF001 - redis-py has no public way to its socket
        self.socket.setblocking(False)
        self._inside = OPENSSL if isinstance(self.socket, ssl.SSLSocket) else nullcontext()
        self._poller = poller(self.socket, READABLE)
        self.touch()

    def usable(self) -> bool:
        """Tell whether an idle connection may be used: still open, nothing unread, and not idle for too long."""
        return not self._poller.poll(0) and time.monotonic() - self.used_at < _TRUSTED_IDLE

    def ask(self, command: bytes, deadline: float) -> bytes:
        """Send a whole command until the deadline, by `time.monotonic`, and return its reply of one line.

        After an error the connection must be closed: a late reply to this command may still arrive on it.

        Raises `BrokerUnavailable` if it did not leave whole (Redis runs whole commands only), `EnqueueUncertain` else.
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
        self.used_at = time.monotonic()

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


class _Select:
    """`select.poll` by `select.select`.

    eventlet takes the former away from a process that it patches, and gives a `select.select` that lets others run.
    """

    def __init__(self, sock: socket.socket, event: int) -> None:
        self._to_read = [sock] if event == READABLE else []
        self._to_write = [sock] if event == WRITABLE else []

    def poll(self, timeout: float, /) -> list[Any]:
        readable, writable, _ = select.select(self._to_read, self._to_write, [], timeout / 1000)
        return [*readable, *writable]


def poller(sock: socket.socket, event: int) -> select.poll | _Select:
    """Return what waits until a socket is `READABLE` or `WRITABLE`, or has failed."""
    if not hasattr(select, "poll"):
        return _Select(sock, event)
    watching = select.poll()  # select can't watch a file descriptor above 1023
    watching.register(sock, event)
    return watching


def dial(address: Address) -> Future[Connection]:
    """Return the connection to come, or its `BrokerUnavailable`: a thread waits for the name lookup, which may hang."""
    future: Future[Connection] = Future()
    try:
        Thread(target=_dial, args=(address, future), name="feedback-dial", daemon=True).start()
    except RuntimeError as error:  # no more threads, or the interpreter is on its way out
        future.set_exception(BrokerUnavailable(f"can't connect to {address}: {said(error)}"))
    return future


def _dial(address: Address, future: Future[Connection]) -> None:
    try:
        with OPENSSL.handshake() if address.tls else nullcontext():
            connection = _connect(address)
    except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
        unavailable = BrokerUnavailable(f"can't connect to {address}: {said(error)}")
        unavailable.__cause__ = error
        future.set_exception(unavailable)
    else:
        future.set_result(connection)


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


def said(error: BaseException) -> str:
    """Return what an error says, or at least its kind."""
    return str(error) or type(error).__name__
