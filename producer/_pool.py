"""The connections of a `FeedbackProducer`: each is used by one call at a time, the last one used first."""

from __future__ import annotations

import math
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from producer._connection import dial
from producer._forks import in_each_child, notice_fork
from producer.errors import BrokerUnavailable

if TYPE_CHECKING:
    from concurrent.futures import Future

    from producer._connection import Connection
    from producer._connection_target import ConnectionTarget

__all__ = ["CLOSED", "Pool"]

CLOSED: Final = "the producer is closed"


class Pool:
    """At most `size` connections, opened when needed.

    A call takes one of `size` places, and then the connection that was put back last, or a new one. A deque's append
    and pop are atomic, and `SimpleQueue` is C: no lock of Python's own is on the way.

    Args:
        endpoint: Where to connect.
        size: How many calls may be under way at once.

    Attributes:
        endpoint: As it was given.
        closed: Whether it gives out no more.
    """

    def __init__(self, endpoint: ConnectionTarget, size: int) -> None:
        self.endpoint = endpoint
        self._size = size
        self.closed = False
        self._is_retired = False
        self._trusted_from = -math.inf
        self._start_afresh()
        _POOLS.add(self)

    def take(self, deadline: float) -> Connection:
        """Return a connection for one call, which must be released or dropped.

        Raises:
            BrokerUnavailable: There is none by the deadline (of `time.monotonic`).
        """
        notice_fork()
        if self.closed:
            raise BrokerUnavailable(CLOSED)
        try:
            self._places.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise self._busy("until the time was up") from None
        return self._idle_one() or self._new_one(deadline)

    def take_idle(self) -> Connection | None:
        """Return a connection for one call that is there already, if there is one."""
        notice_fork()
        if self.closed or not self._idle:
            return None
        try:
            self._places.get_nowait()
        except Empty:
            return None
        connection = self._idle_one()
        if connection is None:
            self._places.put(None)
        return connection

    def take_soon(self, deadline: float) -> Connection | Future[Connection]:
        """Return a connection for one call, or the one to come, which may be `abandoned <abandon>`; it does not wait.

        Raises:
            BrokerUnavailable: All are busy.
        """
        notice_fork()
        if self.closed:
            raise BrokerUnavailable(CLOSED)
        try:
            self._places.get_nowait()
        except Empty:
            raise self._busy("") from None
        return self._idle_one() or dial(self.endpoint, deadline)

    def abandon(self, dialled: Future[Connection]) -> None:
        """Leave a connection to come to a later call.

        Its place goes with the dialling: threads are bounded too.
        """
        dialled.add_done_callback(self._end_of_dial)

    def release(self, connection: Connection) -> None:
        """Keep a connection, whose last reply has been read, for the next call."""
        if self.closed or self._is_retired:
            connection.close()
        else:
            self._idle.append(connection)
        self._places.put(None)

    def drop(self, connection: Connection, asked_at: float) -> None:
        """Close a connection that must not be used again.

        The others lead to the same server. Those on which it has answered nothing since are not trusted either: each
        would cost another call its event, after a machine has vanished, or has lost its place to another.
        ``asked_at`` is when the connection's last call began, by `time.monotonic`.
        """
        self._trusted_from = max(self._trusted_from, asked_at)
        connection.close()
        self._places.put(None)

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self.closed = True
        self.retire()

    def retire(self) -> None:
        """Keep no connections: calls that still come here open their own."""
        self._is_retired = True
        while connection := self._pop():
            connection.close()

    def _busy(self, until: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"all {self._size} connections to Redis were busy {until}".rstrip())

    def _idle_one(self) -> Connection | None:
        while connection := self._pop():
            if connection.used_at >= self._trusted_from and connection.usable():
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _new_one(self, deadline: float) -> Connection:
        dialled = dial(self.endpoint, deadline)
        try:
            return dialled.result(timeout=max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            self.abandon(dialled)
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable(f"no connection to {self.endpoint} until the time was up") from None
            raise

    def _end_of_dial(self, dialled: Future[Connection]) -> None:
        if dialled.exception() is None:
            self.release(dialled.result())
        else:
            self._places.put(None)

    def _start_afresh(self) -> None:
        self._trusted_from = -math.inf
        self._idle: deque[Connection] = deque()
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._size):
            self._places.put(None)


_POOLS: Final[WeakSet[Pool]] = WeakSet()


def _after_fork_in_child() -> None:
    """A child shares neither sockets, nor places taken by threads that it does not have, with its parent."""
    for pool in list(_POOLS):
        pool._start_afresh()  # noqa: SLF001 - a private method of this module


in_each_child(_after_fork_in_child)
