"""The connections of an `AsyncFeedbackProducer`: in each event loop one to each server that has partitions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from producer._pipeline import Pipeline
from producer._pool import CLOSED
from producer._routing import LAST_TRY
from producer.errors import BrokerUnavailable, ProducerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from producer._routing import Outcome, Routes
    from producer.broker_url import Place

__all__ = ["AsyncPools"]

_SUSPECT: Final = 0.1
"""Seconds after which what could not be sent to a server may go to another: it does not answer, or is being dialled."""

_CALM: Final = 0.05
"""Seconds until a partition is looked for again where it could not be."""


class AsyncPools:
    """One connection to each place in each event loop, made when it is needed.

    Args:
        routes: Where the partitions are.
        size: Connections to each place at most in one loop.

    Attributes:
        routes: As they were given.
        closed: Whether there are no more.
    """

    def __init__(self, routes: Routes, size: int) -> None:
        self.routes = routes
        self._size = size
        self._loops: dict[asyncio.AbstractEventLoop, dict[Place, list[Pipeline]]] = {}
        self.closed = False

    def pipeline(self, loop: asyncio.AbstractEventLoop, deadline: float, place: Place, partition: int = 0) -> Pipeline:
        """Return the connection to a place that has this partition.

        Raises:
            BrokerUnavailable: There are too many already, on which answers are waited for.
        """
        if self.closed:
            raise BrokerUnavailable(CLOSED)
        places = self._loops.get(loop)
        if places is None:
            self._forget_closed_loops()
            places = self._loops[loop] = {}
        pipelines = places.get(place)
        if pipelines is None:
            self._retire_others(places)
            pipelines = places[place] = []
        if pipelines and pipelines[-1].usable():
            return pipelines[-1]
        pipelines[:] = [pipeline for pipeline in pipelines if not pipeline.closed]
        if len(pipelines) >= self._size:
            raise BrokerUnavailable(f"all {self._size} connections wait for Redis to answer")
        pipelines.append(Pipeline(self.routes.endpoint(place, partition), loop, deadline))
        return pipelines[-1]

    async def ask(self, commands: Mapping[int, bytes], deadline: float) -> dict[int, Outcome]:
        """Send commands, each to where its partition is, and return how they ended, by the partitions.

        What surely has not run is sent again, where its partition is then, until the deadline, on the loop's clock.
        """
        outcomes: dict[int, Outcome] = {}
        call = _RoutedCall(self, asyncio.get_running_loop(), deadline, outcomes)
        await call.run(commands)
        return outcomes

    async def ask_one(self, partition: int, command: bytes, deadline: float) -> Outcome:
        """Send one command; as `ask`. Over a connection that is there already; anything else goes as many do."""
        loop = asyncio.get_running_loop()
        place = self.routes.place(partition)
        places = self._loops.get(loop)
        pipelines = places.get(place) if places and place is not None else None
        if place is not None and pipelines and (pipeline := pipelines[-1]).usable() and pipeline.is_connected:
            outcome: Outcome
            try:
                outcome = await pipeline.ask(command, deadline)
            except ProducerError as error:
                outcome = error
            else:
                if outcome[:1] == b":":  # as nearly always
                    return outcome
                if not self.routes.leaves_clean(outcome):
                    pipeline.retire()
            pause = self.routes.again(place, partition, outcome)
            if pause is None or self.closed or loop.time() + pause + LAST_TRY >= deadline:
                return outcome
            await asyncio.sleep(pause)
        return (await self.ask({partition: command}, deadline))[partition]

    def close(self) -> None:
        """Close all connections. Calls under way end with an error."""
        self.closed = True
        here = asyncio.get_running_loop()
        while self._loops:
            loop, places = self._loops.popitem()
            for pipeline in _all(places):
                if loop is here or loop.is_closed():
                    pipeline.close()
                else:  # it belongs to another thread
                    loop.call_soon_threadsafe(pipeline.close)

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            for pipeline in _all(self._loops.pop(loop)):
                pipeline.close()

    def _retire_others(self, pipelines: dict[Place, list[Pipeline]]) -> None:
        """Leave servers that have no partition any more."""
        places = self.routes.places()
        for place in [place for place in pipelines if place not in places]:
            for pipeline in pipelines.pop(place):
                pipeline.retire()


class _RoutedCall:
    """The commands of one call, and how they ended so far."""

    def __init__(
        self, pools: AsyncPools, loop: asyncio.AbstractEventLoop, deadline: float, outcomes: dict[int, Outcome]
    ) -> None:
        self._pools = pools
        self._routes = pools.routes
        self._loop = loop
        self._deadline = deadline
        self._outcomes = outcomes
        self._began_with = pools.routes.version

    async def run(self, commands: Mapping[int, bytes]) -> None:
        """Let commands end. Each server's go on by themselves, so that none holds up another."""
        while commands:
            by_place = self._by_place(commands)
            if len(by_place) > 1:
                await asyncio.gather(*map(self.run, by_place.values()))
                return
            ((place, _),) = by_place.items()
            if place is None:
                commands = await self._find(commands)
            else:
                commands = await self._ask(place, commands)

    async def _ask(self, place: Place, commands: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Send commands to a server, and return those that are sent again, after a while."""
        pauses: list[float] = []
        again: dict[int, bytes] = {}
        for partition, outcome in (await self._outcomes_at(place, commands)).items():
            self._outcomes[partition] = outcome
            pause = self._routes.again(place, partition, outcome)
            if pause is not None:
                again[partition] = commands[partition]
                pauses.append(pause)
        if not again or self._pools.closed or self._loop.time() + max(pauses) + LAST_TRY >= self._deadline:
            return {}
        await asyncio.sleep(max(pauses))
        return again

    async def _outcomes_at(self, place: Place, commands: Mapping[int, bytes]) -> Mapping[int, Outcome]:
        try:
            pipeline = self._pools.pipeline(self._loop, self._deadline, place, next(iter(commands)))
            send_by = self._loop.time() + _SUSPECT
            outcomes = await pipeline.ask_all([*commands.values()], self._deadline, send_by)
        except ProducerError as error:
            return dict.fromkeys(commands, error)
        ended = dict(zip(commands, outcomes, strict=True))
        for outcome in ended.values():
            if isinstance(outcome, bytes) and not self._routes.leaves_clean(outcome):
                pipeline.retire()
        return ended

    async def _find(self, commands: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """Wait until it is known where these commands' partitions are, and return the commands, or none if it can't."""
        problem = CLOSED if self._pools.closed else self._routes.problem
        self._outcomes |= dict.fromkeys(commands, BrokerUnavailable(problem))
        version = self._routes.version
        if self._pools.closed or (self._routes.is_refused and version != self._began_with):
            return {}
        if found := self._routes.find():
            await asyncio.wait({asyncio.wrap_future(found)}, timeout=self._deadline - self._loop.time())
        if self._routes.version == version:
            await asyncio.sleep(_CALM)
        self._outcomes |= dict.fromkeys(commands, BrokerUnavailable(self._routes.problem))
        return commands if self._loop.time() < self._deadline else {}

    def _by_place(self, commands: Mapping[int, bytes]) -> dict[Place | None, dict[int, bytes]]:
        found: dict[Place | None, dict[int, bytes]] = {}
        for partition, command in commands.items():
            found.setdefault(self._routes.place(partition), {})[partition] = command
        return found


def _all(places: Mapping[Place, list[Pipeline]]) -> Iterable[Pipeline]:
    return (pipeline for pipelines in places.values() for pipeline in pipelines)
