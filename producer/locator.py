"""Finding the server to write to, by asking others each time that a connection is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from producer._connection import said
from producer._forks import OPENSSL

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from producer._connection import Conversation
    from producer.broker_url import Place

__all__ = ["LocatedConnection", "Locator", "ask_each", "shown"]

T = TypeVar("T")

_HEAD_START: Final = 0.05
"""Seconds that one server has before the next is asked as well: one whose machine is gone answers nothing, and a
call's budget must last for asking another."""

_STEPS: Final = 4
"""Steps in which a server is asked (resolve, connect, log in, ask), each with the patience of one."""


@dataclass(eq=False, repr=False, kw_only=True)
class Locator(ABC):
    """Asks servers where to write.

    Attributes:
        order: Where those servers are, in the order in which they are asked.
        redis_at: Makes a connection to a Redis that has yet to connect.
        tls: Whether the connections are encrypted.
        patience: How long each step may take, in seconds.
    """

    order: tuple[Place, ...]
    redis_at: Callable[[Place], Conversation]
    tls: bool
    patience: float

    asked_kind: ClassVar[str]
    """What the servers are that are asked."""
    found_kind: ClassVar[str]
    """What the server is that is found."""

    @property
    @abstractmethod
    def failure(self) -> str:
        """What is said if none leads there."""

    @abstractmethod
    def _answer_of(self, place: Place) -> Place:
        """Ask one server where to write; any exception says why it does not tell."""

    @abstractmethod
    def _require(self, connection: Conversation, place: Place) -> None:
        """Raise unless what was found, and has connected, is the server to write to: who answered may be wrong."""

    def find(self) -> Place:
        """Return where to write.

        Raises:
            ConnectionError: See `connect`.
        """
        place, connection = self._find()
        connection.disconnect()
        return place

    def connect(self) -> Conversation:
        """Return a connection to the server to write to.

        Raises:
            ConnectionError: No server leads there; the message says of each why.
        """
        return self._find()[1]

    def _find(self) -> tuple[Place, Conversation]:
        """Ask until one leads there: one that was cut off may still believe in the server of before."""
        problems: list[str] = []
        tried: set[Place] = set()
        answers = ask_each(self.order, self._answer_of, kind=self.asked_kind, tls=self.tls, patience=self.patience)
        for asked, answer in answers:
            if isinstance(answer, BaseException):
                problems.append(f"{self.asked_kind} {shown(asked)}: {said(answer)}")
            elif answer not in tried:
                tried.add(answer)
                try:
                    connection = self._connect_to(answer)
                except Exception as error:  # noqa: BLE001 - any failure: the next server is asked
                    problems.append(f"{self.found_kind} {shown(answer)}: {said(error)}")
                else:
                    self.order = (asked, *(other for other in self.order if other != asked))
                    return answer, connection
        raise ConnectionError(f"{self.failure}; {'; '.join(problems)}")

    def _connect_to(self, place: Place) -> Conversation:
        connection = self.redis_at(place)
        try:
            connection.connect()
            self._require(connection, place)
        except BaseException:
            connection.disconnect()
            raise
        return connection


def ask_each(
    places: Sequence[Place], ask: Callable[[Place], T], *, kind: str, tls: bool, patience: float
) -> Iterator[tuple[Place, T | BaseException]]:
    """Ask servers, each in a thread of its own and a moment after the one before, and yield the answers as they come.

    Args:
        places: Where they are, in the order in which they are asked.
        ask: Asks one of them; any exception is yielded in place of its answer.
        kind: What the servers are.
        tls: Whether the connections are encrypted.
        patience: How long each step may take, in seconds.
    """
    answers: SimpleQueue[tuple[Place, T | BaseException]] = SimpleQueue()

    def ask_one(place: Place) -> None:
        answer: T | BaseException
        try:
            with OPENSSL.handshake() if tls else nullcontext():
                answer = ask(place)
        except BaseException as error:  # noqa: BLE001 - the waiting task gets every error
            answer = error
        answers.put((place, answer))

    missing = 0
    for place in places:
        Thread(target=ask_one, args=(place,), name=f"feedback-{kind}", daemon=True).start()
        missing += 1
        with suppress(Empty):
            answer = answers.get(timeout=_HEAD_START)
            missing -= 1
            yield answer
    for _ in range(missing):
        try:
            yield answers.get(timeout=_STEPS * patience)
        except Empty:  # a name is still being resolved, which takes no deadline
            return


class LocatedConnection:
    """A connection to the server that is the one to write to when it connects."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator
        self._found: Conversation | None = None

    @property
    def _sock(self) -> socket.socket:
        if self._found is None:
            raise ConnectionError("it has not connected")
        return self._found._sock  # noqa: SLF001 - redis-py has no public way to its socket

    def connect(self) -> None:
        """Find the server, connect, encrypt and log in."""
        self._found = self._locator.connect()

    def disconnect(self) -> None:
        """Close the socket, if there is one."""
        if self._found is not None:
            self._found.disconnect()


def shown(place: Place) -> str:
    """Return a place as text."""
    host, port = place
    return f"{host}:{port}"
