"""Pipelining under a scheduler: one task sends the commands of all, over a connection of its own.

A thread that sends for them would have to be woken for each batch, and to wake each caller: most of what a script costs
(docs/adr/0007-a-scheduler-on-gevent.md). redis-py opens the connection. After a failure, and always over TLS, redis-py
itself sends the batch in another thread, with its own retries.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis

from worker.clients.redis.cluster import is_redirection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from producer.broker_url import Place
    from worker.concurrency.scheduler import Scheduler, Waiter

__all__ = ["Command", "CommandPipeline", "Reply"]

Command = tuple[Any, ...]

Reply = Any
"""What Redis replies: its type depends on the command."""

log = logging.getLogger(__name__)

_READ_SIZE: Final = 64 * 1024
"""Bytes read from Redis in one step."""

_INCOMPLETE: Final = object()

_RECONNECT_AFTER: Final = 1.0
"""Seconds after a failed connect before the next. Meanwhile redis-py sends the batches."""


def _tells_to_leave(reply: object) -> bool:
    """Whether this server is not the one to ask now: it is loading its data, is a replica, or has not the slot.

    Redis before 7 reports the latter inside a script's own error.
    """
    if isinstance(reply, redis.ConnectionError | redis.ReadOnlyError) or is_redirection(reply):
        return True
    return isinstance(reply, redis.ResponseError) and "-READONLY" in str(reply)


class _PendingCommand:
    """One task's command and its reply."""

    __slots__ = ("command", "reply", "waiter")

    def __init__(self, command: Command, waiter: Waiter) -> None:
        self.command = command
        self.waiter = waiter
        self.reply: Any = None


class CommandPipeline:
    """Sends the commands of one scheduler's tasks to Redis in batches.

    Args:
        pool: Knows how to connect.
        scheduler: Runs the tasks.
        fallback: Sends a batch where no connection is open, in any thread; returns a reply or an error for each.
        batch_limit: Commands in one round trip.
        broke: Called with the place that the connection led to when it is given up.

    Attributes:
        place: Where its connection leads; None while there is none.
    """

    def __init__(
        self,
        pool: redis.ConnectionPool,
        scheduler: Scheduler,
        fallback: Callable[[Sequence[Command]], list[Any]],
        *,
        batch_limit: int,
        broke: Callable[[Place], None] = lambda _: None,
    ) -> None:
        self.place: Place | None = None
        self._broke = broke
        self._pool = pool
        self._scheduler = scheduler
        self._fallback = fallback
        self._batch_limit = batch_limit
        self._waiting: list[_PendingCommand] = []
        self._idle: Waiter | None = None
        self._sock: socket.socket | None = None
        self._connect_at = math.inf if issubclass(pool.connection_class, redis.SSLConnection) else 0.0
        """Not before this time does it connect, by the monotonic clock."""
        self._asked_at: float | None = None
        scheduler.spawn(self._serve)
        scheduler.add_cleanup(self.disconnect)

    def execute(self, command: Command) -> Reply:
        """Return the reply or the error; the task yields to the others meanwhile."""
        pending = _PendingCommand(command, self._scheduler.waiter())
        self._waiting.append(pending)
        if self._idle is not None:
            idle, self._idle = self._idle, None
            self._scheduler.wake_threadsafe((idle,))
        pending.waiter.get()
        return pending.reply

    @property
    def silent_for(self) -> float:
        """For how many seconds Redis has owed a reply; from any thread."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def _serve(self) -> None:
        while True:
            if not self._waiting:
                self._idle = idle = self._scheduler.waiter()
                idle.get()
            batch = self._waiting[: self._batch_limit]
            del self._waiting[: self._batch_limit]
            self._asked_at = time.monotonic()
            try:
                replies = self._replies([pending.command for pending in batch])
            except Exception as error:  # noqa: BLE001 - every waiting caller gets the error
                replies = [error] * len(batch)
            self._asked_at = None
            for pending, reply in zip(batch, replies, strict=True):
                pending.reply = reply
            self._scheduler.wake_threadsafe([pending.waiter for pending in batch])

    def _replies(self, commands: Sequence[Command]) -> list[Reply]:
        if self._sock is not None:
            try:
                return self._round_trip(self._sock, commands)
            except (redis.RedisError, OSError):
                place = self.place
                self.disconnect()
                if place is not None:
                    self._broke(place)
        replies = self._scheduler.run_in_thread(lambda: self._fallback(commands))
        if time.monotonic() >= self._connect_at and not all(isinstance(reply, Exception) for reply in replies):
            self._connect_at = math.inf
            self._scheduler.spawn(self._connect)  # no caller waits for it
        return replies

    def _round_trip(self, sock: socket.socket, commands: Sequence[Command]) -> list[Reply]:
        reader = self._reader
        sock.sendall(b"".join(map(hiredis.pack_command, commands)))
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = reader.gets()
            if reply is _INCOMPLETE:
                if not (data := sock.recv(_READ_SIZE)):
                    raise redis.ConnectionError("Redis has closed the connection")
                reader.feed(data)
            elif _tells_to_leave(reply):
                raise redis.ConnectionError(str(reply))
            elif not isinstance(reply, hiredis.PushNotification):  # RESP3 may push messages between replies
                replies.append(reply)
        return replies

    def _connect(self) -> None:
        """Open a connection for the batches to come."""
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            self._scheduler.run_in_thread(connection.connect)
        except Exception as error:  # noqa: BLE001 - the fallback meets the same error, and reports it
            log.debug("scripts go through redis-py for now: %s", error)
            self._connect_at = time.monotonic() + _RECONNECT_AFTER
            return
        opened, parser = connection._sock, connection._parser  # noqa: SLF001 - redis-py has no public way to its socket and parser
        if not isinstance(opened, socket.socket):
            connection.disconnect()  # no real socket (a test's fake server): always the fallback
            return
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=parser.parse_error, notEnoughData=_INCOMPLETE
        )
        self._sock = self._scheduler.adopt_socket(opened)
        # A Unix socket has no host.
        self.place = (str(getattr(connection, "host", "")), int(getattr(connection, "port", 0)))

    def disconnect(self) -> None:
        """Give the connection up, if there is one; another is opened when one is needed."""
        sock, self._sock, self.place = self._sock, None, None
        if sock is not None:
            sock.close()
            self._connect_at = 0.0
