"""Asking sentinels where the master is, each time that a connection is made.

What a client has to do: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

from producer._connection import said
from producer._forks import OPENSSL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from producer._connection import Conversation
    from producer.broker_url import Place

__all__ = ["MasterConnection", "Sentinels"]

_HEAD_START: Final = 0.05
"""Seconds that one sentinel has before the next is asked as well: one whose machine is gone answers nothing, and a
call's budget must last for asking another."""

_STEPS: Final = 4
"""Steps in which a sentinel is asked (resolve, connect, log in, ask), each with the patience of one."""


@dataclass(eq=False, repr=False, kw_only=True)
class Sentinels:
    """The sentinels that watch one master.

    Attributes:
        order: Where they are, in the order in which they are asked.
        master: The name under which they watch it.
        sentinel_at: Makes a connection to a sentinel that has yet to connect, and answers in text.
        redis_at: Makes a connection to a Redis that has yet to connect.
        tls: Whether the connections are encrypted.
        patience: How long each step may take, in seconds.
    """

    order: tuple[Place, ...]
    master: str
    sentinel_at: Callable[[Place], Conversation]
    redis_at: Callable[[Place], Conversation]
    tls: bool
    patience: float

    def find(self) -> Place:
        """Return where the master is.

        Raises:
            ConnectionError: See `connect`.
        """
        place, connection = self._find()
        connection.disconnect()
        return place

    def connect(self) -> Conversation:
        """Return a connection to the master.

        Raises:
            ConnectionError: No sentinel leads to it; the message says of each why.
        """
        return self._find()[1]

    def _find(self) -> tuple[Place, Conversation]:
        """Ask until one leads to a master: one that was cut off may still believe in the master of before."""
        problems: list[str] = []
        tried: set[Place] = set()
        for sentinel, answer in self._answers():
            if isinstance(answer, BaseException):
                problems.append(f"sentinel {_shown(sentinel)}: {said(answer)}")
            elif answer not in tried:
                tried.add(answer)
                try:
                    connection = self._connect_to_master(answer)
                except Exception as error:  # noqa: BLE001 - any failure: the next sentinel is asked
                    problems.append(f"master {_shown(answer)}: {said(error)}")
                else:
                    self.order = (sentinel, *(other for other in self.order if other != sentinel))
                    return answer, connection
        raise ConnectionError(f"no sentinel leads to the master {self.master!r}; {'; '.join(problems)}")

    def _answers(self) -> Iterator[tuple[Place, Place | BaseException]]:
        answers: SimpleQueue[tuple[Place, Place | BaseException]] = SimpleQueue()
        missing = 0
        for sentinel in self.order:
            Thread(target=self._ask, args=(sentinel, answers), name="feedback-sentinel", daemon=True).start()
            missing += 1
            with suppress(Empty):
                answer = answers.get(timeout=_HEAD_START)
                missing -= 1
                yield answer
        for _ in range(missing):
            try:
                yield answers.get(timeout=_STEPS * self.patience)
            except Empty:  # a name is still being resolved, which takes no deadline
                return

    def _ask(self, sentinel: Place, answers: SimpleQueue[tuple[Place, Place | BaseException]]) -> None:
        answer: Place | BaseException
        try:
            with OPENSSL.handshake() if self.tls else nullcontext():
                answer = self._master_of(sentinel)
        except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
            answer = error
        answers.put((sentinel, answer))

    def _master_of(self, sentinel: Place) -> Place:
        connection = self.sentinel_at(sentinel)
        try:
            connection.connect()
            connection.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
            found = connection.read_response()
        finally:
            connection.disconnect()
        if found is None:
            raise LookupError("it watches no master of that name")
        host, port = found
        return host, int(port)

    def _connect_to_master(self, place: Place) -> Conversation:
        connection = self.redis_at(place)
        try:
            connection.connect()
            _require_master(connection)
        except BaseException:
            connection.disconnect()
            raise
        return connection


class MasterConnection:
    """A connection to the server that is the master when it connects."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self._found: Conversation | None = None

    @property
    def _sock(self) -> socket.socket:
        if self._found is None:
            raise ConnectionError("it has not connected")
        return self._found._sock  # noqa: SLF001 - redis-py has no public way to its socket

    def connect(self) -> None:
        """Find the master, connect, encrypt and log in."""
        self._found = self._sentinels.connect()

    def disconnect(self) -> None:
        """Close the socket, if there is one."""
        if self._found is not None:
            self._found.disconnect()


def _require_master(connection: Conversation) -> None:
    from redis.exceptions import NoPermissionError  # noqa: PLC0415 - importing redis-py is slow; see producer.address

    connection.send_command("ROLE")
    try:
        role, *_ = connection.read_response() or ("no role",)
    except NoPermissionError:  # its first refusal will tell
        return
    if role not in {b"master", "master"}:
        raise ConnectionError("it is a replica")


def _shown(place: Place) -> str:
    host, port = place
    return f"{host}:{port}"
