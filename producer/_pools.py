"""The connections of a `FeedbackProducer` to all servers that have partitions: a pool for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from producer._command_batch import CommandBatch
from producer._pool import CLOSED, Pool
from producer._resp import is_taken
from producer._routing import LAST_TRY
from producer.errors import BrokerUnavailable, ProducerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from producer._routing import Outcome, Routes
    from producer.broker_url import Place

__all__ = ["Pools"]


class Pools:
    """A pool for each place, made when it is needed.

    Args:
        routes: Where the partitions are.
        size: Connections to each place at most.

    Attributes:
        routes: As they were given.
        closed: Whether there are no more.
    """

    def __init__(self, routes: Routes, size: int) -> None:
        self.routes = routes
        self._size = size
        self._pools: dict[Place, Pool] = {}
        self.closed = False

    def at(self, place: Place, partition: int) -> Pool:
        """Return the pool of a place that has this partition."""
        if (pool := self._pools.get(place)) is None:
            self._retire_others()
            pool = self._pools.setdefault(place, Pool(self.routes.endpoint(place, partition), self._size))
            if self.closed:
                pool.close()
        return pool

    def ask(self, commands: Mapping[int, bytes], deadline: float) -> dict[int, Outcome]:
        """Send commands, each to where its partition is, and return how they ended, by the partitions.

        What surely has not run is sent again, where its partition is then, until the deadline (of `time.monotonic`).
        """
        if len(commands) > 1:
            return CommandBatch(self, commands, deadline).run()
        ((partition, command),) = commands.items()
        return {partition: self.ask_one(partition, command, deadline)}

    def ask_one(self, partition: int, command: bytes, deadline: float) -> Outcome:
        """Send one command; as `ask`. Over a connection that is there already; anything else is a batch's matter."""
        place = self.routes.place(partition)
        if place is not None:
            pool = self.at(place, partition)
            if (connection := pool.take_idle()) is not None:
                asked_at = time.monotonic()
                outcome: Outcome
                try:
                    outcome = connection.ask(command, deadline)
                except BaseException as error:
                    pool.drop(connection, asked_at)
                    if not isinstance(error, ProducerError):
                        raise
                    outcome = error
                else:
                    if is_taken(outcome):  # as nearly always
                        pool.release(connection)
                        return outcome
                    if self.routes.leaves_clean(outcome):
                        pool.release(connection)
                    else:
                        pool.drop(connection, asked_at)
                pause = self.routes.again(place, partition, outcome)
                if pause is None or self.closed or time.monotonic() + pause + LAST_TRY >= deadline:
                    return outcome
                time.sleep(pause)
        return CommandBatch(self, {partition: command}, deadline).run()[partition]

    def unknown(self) -> BrokerUnavailable:
        """Return the error of a call whose partition is not known to be anywhere."""
        return BrokerUnavailable(CLOSED if self.closed else self.routes.problem)

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self.closed = True
        for pool in list(self._pools.values()):
            pool.close()

    def _retire_others(self) -> None:
        """Close connections to servers that have no partition any more."""
        places = self.routes.places()
        for place in [place for place in self._pools if place not in places]:
            if (pool := self._pools.pop(place, None)) is not None:
                pool.retire()
