"""The commands of one call of a thread's, each for a partition: sent to all servers, then read from all.

No server holds up another: each has a connection of its own, and the call goes on wherever something can be sent, or
has come. A command that surely has not run is sent again, where its partition is then, until the time is up.
"""

from __future__ import annotations

import math
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from producer._command_exchange import CommandExchange
from producer._connection import READABLE, wait_for_any
from producer._routing import LAST_TRY
from producer.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from producer._connection import Connection
    from producer._pool import Pool
    from producer._pools import Pools
    from producer._routing import Outcome
    from producer.broker_url import Place

__all__ = ["CommandBatch"]

_SUSPECT: Final = 0.1
"""Seconds after which a server that does not answer is suspected, and the partitions are looked for."""

_BUSY: Final = 0.005
"""Seconds after which a connection is asked for again where all are busy."""

_LOOKED_FOR: Final = 1.0
"""Seconds after which a partition is looked for again; what ends the search before wakes the call."""


@dataclass(eq=False, slots=True, kw_only=True)
class _Share:
    """The commands of a call that go to one server.

    Attributes:
        place: The server's.
        pool: The connections to it.
        partitions: Those of the commands.
        began: When it was taken up, by `time.monotonic`.
        dialled: The connection to come, if there is none yet; else
        exchange: what goes over it.
    """

    place: Place
    pool: Pool
    partitions: Sequence[int]
    began: float
    dialled: Future[Connection] | None = None
    exchange: CommandExchange | None = None


class CommandBatch:
    """The commands of one call, on their way.

    Args:
        pools: The connections to all places.
        commands: By the partitions that they are for.
        deadline: Until when it may take, by `time.monotonic`.
    """

    def __init__(self, pools: Pools, commands: Mapping[int, bytes], deadline: float) -> None:
        self._pools = pools
        self._routes = pools.routes
        self._commands = commands
        self._deadline = deadline
        self._began_with = self._version = self._routes.version
        self._outcomes: dict[int, Outcome] = {}
        self._due = dict.fromkeys(commands, -math.inf)
        self._sought: set[int] = set()
        self._shares: list[_Share] = []
        self._waker: _Waker | None = None

    def run(self) -> dict[int, Outcome]:
        """Return how each command ended, by its partition."""
        try:
            while self._is_going_on():
                self._wait()
                self._go_on()
        finally:
            self._leave()
        return self._outcomes

    def _is_going_on(self) -> bool:
        """Begin what is due, and tell whether anything is to be waited for."""
        if self._version != self._routes.version:
            self._version = self._routes.version
            self._look_again()
        now = time.monotonic()
        due: dict[Place | None, list[int]] = {}
        for partition, at in self._due.items():
            if at <= now:
                due.setdefault(self._routes.place(partition), []).append(partition)
        for place, partitions in due.items():
            for partition in partitions:
                del self._due[partition]
            if place is None:
                self._look_for(partitions)
            else:
                self._connect(place, partitions, now)
        return bool(self._due or self._shares) and time.monotonic() < self._deadline

    def _look_for(self, partitions: Iterable[int]) -> None:
        """Wait until it is known where these partitions are."""
        self._outcomes |= dict.fromkeys(partitions, self._pools.unknown())
        if self._pools.closed or (self._routes.is_refused and self._version != self._began_with):
            return
        if found := self._routes.find():
            self._wake_at_end_of(found)
        self._sought.update(partitions)
        self._due |= dict.fromkeys(partitions, time.monotonic() + _LOOKED_FOR)

    def _look_again(self) -> None:
        """See whether what is waited for is elsewhere by now."""
        self._due |= dict.fromkeys(self._sought & self._due.keys(), -math.inf)
        self._sought.clear()
        for share in [share for share in self._shares if share.dialled]:
            if any(self._routes.place(partition) != share.place for partition in share.partitions):
                self._shares.remove(share)
                self._leave_share(share)
                self._due |= dict.fromkeys(share.partitions, -math.inf)

    def _connect(self, place: Place, partitions: Sequence[int], now: float) -> None:
        pool = self._pools.at(place, partitions[0])
        share = _Share(place=place, pool=pool, partitions=partitions, began=now)
        try:
            taken = pool.take_soon(self._deadline)
        except BrokerUnavailable as error:
            self._outcomes |= dict.fromkeys(partitions, error)
            if not self._pools.closed:
                self._due |= dict.fromkeys(partitions, time.monotonic() + _BUSY)
            return
        self._shares.append(share)
        if isinstance(taken, Future):
            share.dialled = taken
            self._wake_at_end_of(taken)
        else:
            self._send(share, taken)

    def _send(self, share: _Share, connection: Connection) -> None:
        commands = [self._commands[partition] for partition in share.partitions]
        share.dialled, share.exchange = None, CommandExchange(connection, commands, self._deadline)
        self._go_on_with(share, share.exchange)

    def _go_on_with(self, share: _Share, exchange: CommandExchange) -> None:
        outcomes = exchange.go_on()
        if outcomes is None:
            return
        self._shares.remove(share)
        replies = (outcome for outcome in outcomes if isinstance(outcome, bytes))
        if exchange.is_clean and all(map(self._routes.leaves_clean, replies)):
            share.pool.release(exchange.connection)
        else:
            share.pool.drop(exchange.connection, exchange.asked_at)
        self._end(share, outcomes)

    def _end(self, share: _Share, outcomes: Iterable[Outcome]) -> None:
        """Note how commands ended, and which of them are sent again."""
        for partition, outcome in zip(share.partitions, outcomes, strict=True):
            self._outcomes[partition] = outcome
            pause = self._routes.again(share.place, partition, outcome)
            if pause is None or self._pools.closed:
                continue
            at = time.monotonic() + pause
            if at + LAST_TRY < self._deadline:
                self._due[partition] = at

    def _wait(self) -> None:
        """Wait until something can go on, and no longer than until something is due."""
        now = time.monotonic()
        until = min((self._deadline, *self._due.values()))
        if self._shares:
            until = min(until, now + _SUSPECT)
        watched = [
            (share.exchange.connection.socket, share.exchange.waits_for) for share in self._shares if share.exchange
        ]
        if self._waker is not None:
            watched.append((self._waker.end, READABLE))
        wait_for_any(watched, max(0.0, until - now))
        if self._waker is not None:
            self._waker.clear()

    def _go_on(self) -> None:
        for share in self._shares.copy():
            if share.exchange is not None:
                self._go_on_with(share, share.exchange)
            elif share.dialled is not None and share.dialled.done():
                self._dialled(share, share.dialled)
        if any(share.began + _SUSPECT < time.monotonic() for share in self._shares):
            self._routes.find()

    def _dialled(self, share: _Share, dialled: Future[Connection]) -> None:
        error = dialled.exception()
        if error is None:
            self._send(share, dialled.result())
            return
        self._shares.remove(share)
        share.pool.abandon(dialled)
        unavailable = error if isinstance(error, BrokerUnavailable) else BrokerUnavailable(str(error))
        self._end(share, [unavailable] * len(share.partitions))

    def _leave(self) -> None:
        """End what is still under way: its time is up, or the call was interrupted."""
        for share in self._shares:
            self._leave_share(share)
        if self._shares:
            self._routes.find()
        if self._waker is not None:
            self._waker.close()

    def _leave_share(self, share: _Share) -> None:
        outcomes: Sequence[Outcome]
        if share.dialled is not None:
            share.pool.abandon(share.dialled)
            late = BrokerUnavailable(f"no connection to {share.pool.endpoint} until the time was up")
            outcomes = [late] * len(share.partitions)
        elif share.exchange is not None:
            outcomes = share.exchange.cut_off("the time is up")
            share.pool.drop(share.exchange.connection, share.exchange.asked_at)
        self._outcomes |= dict(zip(share.partitions, outcomes, strict=True))

    def _wake_at_end_of(self, future: Future[Connection] | Future[None]) -> None:
        if self._waker is None:
            self._waker = _Waker()
        future.add_done_callback(self._waker.wake)


class _Waker:
    """Ends a wait for sockets from another thread."""

    def __init__(self) -> None:
        self.end, self._other = socket.socketpair()
        self.end.setblocking(False)
        self._other.setblocking(False)

    def wake(self, _: object) -> None:
        with suppress(OSError):  # it is awake already, or the call has ended
            self._other.send(b"\0")

    def clear(self) -> None:
        with suppress(BlockingIOError):
            while self.end.recv(64):
                pass

    def close(self) -> None:
        self.end.close()
        self._other.close()
