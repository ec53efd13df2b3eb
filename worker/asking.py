"""How tasks that take turns in one thread ask Redis: one of them asks, with what all others ask for by then.

A thread that asks for them would have to be woken for each question, and to wake them for each answer: most of what a
script costs. redis-py opens the connection, and after a failure it is redis-py's own way that tries again, in another
thread. That is also the way over TLS, always.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import hiredis
import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.turns import Turns, Waiter

    Command = tuple[Any, ...]

__all__ = ["Asker", "Command"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64 * 1024
"""Bytes read from Redis in one step."""

_NOT_YET: Final = object()

_PAUSE: Final = 1.0
"""Seconds before another try to connect. Meanwhile redis-py's own way does."""


def _is_to_be_left(answer: object) -> bool:
    """Whether Redis answers that another one is to be asked, or the same one later: it loads, or is a replica now.

    Redis before 7 tells the latter in the midst of a script's own error.
    """
    if isinstance(answer, redis.ConnectionError | redis.ReadOnlyError):
        return True
    return isinstance(answer, redis.ResponseError) and "-READONLY" in str(answer)


class _Asked:
    """One task's command, and what came of it."""

    __slots__ = ("answer", "command", "waiter")

    def __init__(self, command: Command, waiter: Waiter) -> None:
        self.command = command
        self.waiter = waiter
        self.answer: Any = None


class Asker:
    """Asks Redis for the tasks of one thread.

    Args:
        pool: Knows how to connect.
        turns: The thread.
        otherwise: Asks, in any thread, where no connection is open; returns an answer, or an error, for each command.
        most: Commands in one round trip.
    """

    def __init__(
        self,
        pool: redis.ConnectionPool,
        turns: Turns,
        otherwise: Callable[[Sequence[Command]], list[Any]],
        *,
        most: int,
    ) -> None:
        self._pool = pool
        self._turns = turns
        self._otherwise = otherwise
        self._most = most
        self._waiting: list[_Asked] = []
        self._idle: Waiter | None = None
        self._sock: socket.socket | None = None
        self._connect_at = math.inf if issubclass(pool.connection_class, redis.SSLConnection) else 0.0
        """From when on it may connect, by the monotonic clock."""
        turns.begin(self._serve)
        turns.at_stop(self._disconnect)

    def ask(self, command: Command) -> Any:  # noqa: ANN401 - each its own
        """Return what Redis answers, or the error; the task lets others have their turn meanwhile."""
        asked = _Asked(command, self._turns.waiter())
        self._waiting.append(asked)
        if self._idle is not None:
            idle, self._idle = self._idle, None
            self._turns.wake((idle,))
        asked.waiter.get()
        return asked.answer

    def _serve(self) -> None:
        while True:
            if not self._waiting:
                self._idle = idle = self._turns.waiter()
                idle.get()
            asked = self._waiting[: self._most]
            del self._waiting[: self._most]
            try:
                answers = self._answers([each.command for each in asked])
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                answers = [error] * len(asked)
            for each, answer in zip(asked, answers, strict=True):
                each.answer = answer
            self._turns.wake([each.waiter for each in asked])

    def _answers(self, commands: Sequence[Command]) -> list[Any]:
        if self._sock is not None:
            try:
                return self._over_it(self._sock, commands)
            except (redis.RedisError, OSError):
                self._disconnect()
        answers = self._turns.aside(lambda: self._otherwise(commands))
        if time.monotonic() >= self._connect_at and not all(isinstance(answer, Exception) for answer in answers):
            self._connect_at = math.inf
            self._turns.begin(self._connect)  # nobody waits for it
        return answers

    def _over_it(self, sock: socket.socket, commands: Sequence[Command]) -> list[Any]:
        reader = self._reader
        sock.sendall(b"".join(map(hiredis.pack_command, commands)))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = reader.gets()
            if answer is _NOT_YET:
                if not (some := sock.recv(_AT_ONCE)):
                    raise redis.ConnectionError("Redis has closed the connection")
                reader.feed(some)
            elif _is_to_be_left(answer):
                raise redis.ConnectionError(str(answer))
            elif not isinstance(answer, hiredis.PushNotification):  # what nobody asked for
                answers.append(answer)
        return answers

    def _connect(self) -> None:
        """Have a connection for what is asked next, if Redis still answers."""
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        try:
            self._turns.aside(connection.connect)
        except Exception as error:  # noqa: BLE001 - whatever it is, redis-py's own way meets it too, and says so
            log.debug("Redis is asked by threads for now: %s", error)
            self._connect_at = time.monotonic() + _PAUSE
            return
        opened, parser = connection._sock, connection._parser  # noqa: SLF001 - redis-py has no way to take it over
        if not isinstance(opened, socket.socket):
            connection.disconnect()  # no real one: it is always asked in redis-py's own way
            return
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=parser.parse_error, notEnoughData=_NOT_YET
        )
        self._sock = self._turns.adopt(opened)

    def _disconnect(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
            self._connect_at = 0.0
