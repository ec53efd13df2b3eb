"""Connections to Redis: each is dialled in a thread of its own, and used by one call at a time within its deadline."""

from __future__ import annotations

import math
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
    from collections.abc import Callable, Sequence

    from producer._connection_target import ConnectionTarget
    from producer.write_concern import WriteConcern

__all__ = [
    "READABLE",
    "SILENT",
    "WOULD_BLOCK",
    "WRITABLE",
    "Connection",
    "Conversation",
    "RedisConnection",
    "dial",
    "poller",
    "said",
    "wait_for_any",
]

READABLE: Final = 0x001
WRITABLE: Final = 0x004
"""As POLLIN and POLLOUT have it."""

WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What a socket that does not block raises, plain or TLS, when there is nothing to do now."""

_TRUSTED_IDLE: Final = 60.0
"""Seconds for which an idle connection is believed. Routers forget quiet connections without telling either end, the
quickest of the common ones after 4 minutes."""

_TOLD_WITHIN: Final = 0.1
"""Seconds that a call must have left to be told in time why what must confirm its event does not."""

SILENT: Final = 0.5
"""Seconds after which a node of a cluster is suspected that has not answered."""

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
        concern: What must confirm each command's write; None if Redis' own reply is enough.
        on_silence: See `ConnectionTarget`.

    Attributes:
        concern: As it was given.
        used_at: When Redis answered on it last, on the clock of `time.monotonic`.
    """

    __slots__ = ("_inside", "_on_silence", "_owner", "_poller", "concern", "socket", "used_at")

    def __init__(
        self,
        owner: RedisConnection,
        concern: WriteConcern | None = None,
        on_silence: Callable[[], object] | None = None,
    ) -> None:
        self._owner = owner
        self._on_silence = on_silence
        self.concern = concern
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

        Raises `BrokerUnavailable` if it did not leave whole (Redis runs whole commands only), `EnqueueUncertain` else;
        this also if what it wrote is not confirmed in time.
        """
        if self.concern is not None:
            wait = self.concern.wait(deadline - time.monotonic())
            reply, shortfall = self._ask_confirmed(self.concern, command, wait, deadline)
            if shortfall and reply[:1] != b"-":
                raise self.concern.unconfirmed(shortfall)
            return reply
        return self._ask_plain(command, deadline)

    def _ask_plain(self, command: bytes, deadline: float) -> bytes:
        self._send(command, len(command), deadline)
        try:
            reply = self._receive(deadline)
        except OSError as error:
            raise EnqueueUncertain(f"no answer from Redis: {said(error)}") from error
        self.touch()
        return reply

    def greet(self, endpoint: ConnectionTarget, deadline: float) -> None:
        """Return if Redis answers, and what must confirm events does so for a write that changes nothing.

        Args:
            endpoint: What it is connected to, which says how many seconds that may take.
            deadline: Until when the call goes on that needs the connection, by `time.monotonic`. If that is not over,
                it is told why in time.

        Raises:
            OSError: What must confirm events does not, or the queue has another number of partitions.
            ProducerError: See `ask`.
        """
        now, patience = time.monotonic(), endpoint.patience
        if endpoint.record is not None:
            if mismatch := endpoint.record.mismatch(self._ask_plain(endpoint.record.command, now + patience)):
                raise ConnectionError(mismatch)
        elif self.concern is None:
            self._ask_plain(PING, now + patience)
        if self.concern is None:
            return
        wait = self.concern.wait(deadline - now if deadline - now > _TOLD_WITHIN else patience)
        until = max(deadline, now + patience)
        reply, shortfall = self._ask_confirmed(self.concern, self.concern.probe(endpoint.prefix), wait, until)
        if shortfall and reply[:1] != b"-":  # where it is refused, so is the event, which says it better
            raise ConnectionError(shortfall)

    def _ask_confirmed(
        self, concern: WriteConcern, command: bytes, wait: bytes, deadline: float
    ) -> tuple[bytes, str | None]:
        """Send a command and what waits for its confirmation, and return its reply, and what the confirmation lacks."""
        self._send(command + wait, len(command), deadline)
        received = b""
        try:
            while True:
                received += self._piece(deadline)
                reply, *rest = received.split(b"\r\n")
                if rest and not rest.pop() and concern.is_whole(rest):  # nothing is behind the last line's end
                    break
        except OSError as error:
            reply, is_whole, _ = received.partition(b"\r\n")
            raise concern.cut_off(reply if is_whole else None, said(error)) from error
        self.touch()
        return reply, concern.shortfall(rest)

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

    def _send(self, data: bytes, size: int, deadline: float) -> None:
        """Send data, the first ``size`` bytes of which are the command that counts; raises as `ask`."""
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[self.send(left) :]
                except ssl.SSLWantReadError:
                    self._wait(READABLE, deadline)
                except WOULD_BLOCK:
                    self._wait(WRITABLE, deadline)
        except OSError as error:
            if len(data) - len(left) < size:
                raise BrokerUnavailable(f"Redis does not take what is sent to it: {said(error)}") from error
            raise EnqueueUncertain(f"no answer from Redis: {said(error)}") from error

    def _receive(self, deadline: float) -> bytes:
        reply = b""
        while not reply.endswith(b"\r\n"):
            reply += self._piece(deadline)
        return reply[:-2]

    def _piece(self, deadline: float) -> bytes:
        """Return what comes next."""
        while True:
            self._wait(READABLE, deadline)
            try:
                piece = self.receive()
            except WOULD_BLOCK:
                continue
            if not piece:
                raise ConnectionResetError("the connection was closed")
            return piece

    def _wait(self, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        waiting = self._poller if event == READABLE else poller(self.socket, event)
        if self._on_silence is not None and left > SILENT:
            if waiting.poll(SILENT * 1000):
                return
            self._on_silence()
            left -= SILENT
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


def wait_for_any(watched: Sequence[tuple[socket.socket, int]], timeout: float) -> None:
    """Wait until one of these sockets is `READABLE` or `WRITABLE`, as is said of each, for so many seconds at most."""
    if not hasattr(select, "poll"):  # see `_Select`
        to_read, to_write = ([sock for sock, event in watched if event == wanted] for wanted in (READABLE, WRITABLE))
        select.select(to_read, to_write, [], timeout)
        return
    watching = select.poll()
    for sock, event in watched:
        watching.register(sock, event)
    watching.poll(timeout * 1000)


def dial(endpoint: ConnectionTarget, deadline: float = -math.inf) -> Future[Connection]:
    """Return the connection to come, or its `BrokerUnavailable`: a thread waits for the name lookup, which may hang.

    Args:
        endpoint: Where to connect.
        deadline: Until when the call goes on that needs the connection, by `time.monotonic`.
    """
    future: Future[Connection] = Future()
    try:
        Thread(target=_dial, args=(endpoint, deadline, future), name="feedback-dial", daemon=True).start()
    except RuntimeError as error:  # no more threads, or the interpreter is on its way out
        future.set_exception(BrokerUnavailable(f"can't connect to {endpoint}: {said(error)}"))
    return future


def _dial(endpoint: ConnectionTarget, deadline: float, future: Future[Connection]) -> None:
    try:
        with OPENSSL.handshake() if endpoint.tls else nullcontext():
            connection = _connect(endpoint, deadline)
    except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
        unavailable = BrokerUnavailable(f"can't connect to {endpoint}: {said(error)}")
        unavailable.__cause__ = error
        future.set_exception(unavailable)
    else:
        future.set_result(connection)


def _connect(endpoint: ConnectionTarget, deadline: float) -> Connection:
    owner = endpoint.connection()
    try:
        owner.connect()
        connection = Connection(owner, endpoint.concern, endpoint.on_silence)
        # A frozen server accepts connections all the same: only one that has answered is worth an event.
        connection.greet(endpoint, deadline)
    except BaseException:
        owner.disconnect()
        raise
    return connection


def said(error: BaseException) -> str:
    """Return what an error says, or at least its kind."""
    return str(error) or type(error).__name__
