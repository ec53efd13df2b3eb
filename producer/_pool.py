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
    from producer.address import Address
    from producer.write_concern import WriteConcern

__all__ = ["Pool"]


class Pool:
    """At most `size` connections, opened when needed.

    A call takes one of `size` places, and then the connection that was put back last, or a new one. A deque's append
    and pop are atomic, and `SimpleQueue` is C: no lock of Python's own is on the way.

    Args:
        address: Where to connect.
        size: How many calls may be under way at once.
        concern: What must confirm each command's write; None if Redis' own reply is enough.

    Attributes:
        closed: Whether it gives out no more.
    """

    def __init__(self, address: Address, size: int, concern: WriteConcern | None = None) -> None:
        self._address = address
        self._size = size
        self._concern = concern
        self.closed = False
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
            raise BrokerUnavailable("the producer is closed")
        try:
            self._places.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            raise BrokerUnavailable(f"all {self._size} connections to Redis were busy until the time was up") from None
        return self._idle_one() or self._new_one(deadline)

    def release(self, connection: Connection) -> None:
        """Keep a connection, whose last reply has been read, for the next call."""
        if self.closed:
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
        while connection := self._pop():
            connection.close()

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
        dialled = dial(self._address, self._concern, deadline)
        try:
            return dialled.result(timeout=max(0.0, deadline - time.monotonic()))
        except BaseException as error:
            # The place goes with the dialling: threads are bounded too, and a late connection serves a later call.
            dialled.add_done_callback(self._end_of_dial)
            if isinstance(error, TimeoutError):
                raise BrokerUnavailable(f"no connection to {self._address} until the time was up") from None
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
