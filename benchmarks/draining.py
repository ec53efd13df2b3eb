"""One queue, emptied: start the workers before a closed gate, open it, and look on until every event has arrived."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from benchmarks.days import GOOD
from benchmarks.sender import EVENTS
from benchmarks.servers import rig
from benchmarks.usage import Usage, usage
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import redis

    from benchmarks.consumers import Consumer
    from benchmarks.days import Day
    from benchmarks.servers import Rig
    from worker.sandbox.stack import Part

__all__ = ["Drained", "Gathered", "await_all", "drain", "gather", "gathered"]

_STARTED_WITHIN: Final = 60
_GATHERED_WITHIN: Final = 7
"""Seconds in which all requests that the workers have at once stand at the gate; after 10 s the first would give up."""

_IDLE: Final = 8
"""Seconds without a new event after which what is missing will not come: with any of them it would come minutes later,
when another worker takes over what a dead one held."""

_LOOK: Final = 0.05
_SETTLED: Final = 0.3
"""Seconds beyond the API's latency in which what arrived last is acknowledged."""


@dataclass(frozen=True, kw_only=True)
class Drained:
    """How it went.

    Attributes:
        events: How many arrived.
        missing: How many never did.
        doubled: How many arrived more than once.
        rate: Events in a second, from the opening of the gate to the last that arrived; those at the gate don't count.
        middle_rate: The same, without the first tenth and the last.
        cpu: Seconds of the workers' processes for each event.
        commands: Redis commands for each event, those within scripts included.
        reads: How often Redis read from a connection, for each event: a round trip, or several commands at once.
        used: What the workers' processes used in all.
    """

    events: int
    missing: int
    doubled: int
    rate: float
    middle_rate: float
    cpu: float
    commands: float
    reads: float
    used: Usage


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One look at everything."""

    stats: dict[str, Any]
    used: Usage
    commands: int
    reads: int

    @property
    def arrived(self) -> int:
        return int(self.stats["distinct"])


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Workers that stand before a closed gate, with as many requests as they can have.

    Attributes:
        workers: Their processes.
        client: Of the Redis that their queue is in.
        url: Of the stand-in for AquilaX.
        servers: All of that.
    """

    workers: list[Part]
    client: redis.Redis
    url: str
    servers: Rig

    def deliver(self, events: int) -> None:
        """Open the gate, and look on until so many events have arrived, or none has for a while."""
        self.servers.ask(f"{self.url}/open")
        await_all(self.servers, self.url, events)


@contextmanager
def gathered(
    consumer: Consumer,
    events: int,
    *,
    latency: float,
    backlog: Path | None,
    environment: Mapping[str, str] | None = None,
    day: Day = GOOD,
    database: str | None = None,
    prepare: tuple[str, ...] = (),
) -> Iterator[Gathered]:
    """Start a consumer on a full queue, and let it come as far as the gate.

    Args:
        consumer: Who.
        events: How many there are.
        latency: Seconds that the API takes for each.
        backlog: The snapshot of the Redis that they are in; None if there is no queue.
        environment: What else is added to the workers' environment.
        day: How the API answers.
        database: The URL of an empty one; None for an SQLite of its own.
        prepare: The arguments of Python that make it ready, after ours.

    Raises:
        StackError: Nothing arrived.
    """
    with rig() as servers, closing(servers.start_redis(backlog)) as client:
        url = servers.start_target(latency, day)
        servers.create_database(database)
        if prepare:
            servers.run_python(*prepare)
        servers.ask(f"{url}/close")
        added = {EVENTS: str(events), **consumer.environment, **(environment or {})}
        workers = servers.launch(consumer.commands, added)
        gather(workers, servers, url, min(consumer.at_once, events))
        yield Gathered(workers=workers, client=client, url=url, servers=servers)


def drain(consumer: Consumer, events: int, *, latency: float, backlog: Path | None) -> Drained:
    """Let a consumer deliver so many events; arguments and errors are those of `gathered`."""
    with gathered(consumer, events, latency=latency, backlog=backlog) as at_gate:
        pids = [worker.process.pid for worker in at_gate.workers]

        def look() -> _Look:
            stats = at_gate.servers.ask(f"{at_gate.url}/stats")
            commands, reads = _commands(at_gate.client)
            return _Look(stats=stats, used=usage(pids), commands=commands, reads=reads)

        first = look()
        at_gate.deliver(events)
        busy = usage(pids)
        time.sleep(latency + _SETTLED)
        last = look()
    return _drained(first, last, busy, events)


def gather(workers: list[Part], servers: Rig, url: str, number: int) -> None:
    """Wait until so many requests stand at the gate, or until those that do would not stand there much longer."""
    began, first = time.monotonic(), None
    while (waiting := int(servers.ask(f"{url}/stats")["waiting"])) < number:
        now = time.monotonic()
        first = now if waiting and first is None else first
        if first is not None and now - first > _GATHERED_WITHIN:
            return
        if now - began > _STARTED_WITHIN or not any(worker.is_running for worker in workers):
            raise StackError(f"nothing arrived:\n{workers[0].said()[-4000:]}")
        time.sleep(_LOOK)


def await_all(servers: Rig, url: str, events: int) -> None:
    """Look on until so many events have arrived, or none has for a while."""
    seen, since = 0, time.monotonic()
    while seen < events and time.monotonic() - since < _IDLE:
        time.sleep(_LOOK)
        now = int(servers.ask(f"{url}/stats")["distinct"])
        if now > seen:
            seen, since = now, time.monotonic()


def _drained(first: _Look, last: _Look, busy: Usage, events: int) -> Drained:
    stats, arrived = last.stats, last.arrived
    meanwhile = max(1, arrived - int(stats["at_opening"]))
    tenth = arrived // 10
    return Drained(
        events=arrived,
        missing=events - arrived,
        doubled=int(stats["requests"]) - arrived,
        rate=meanwhile / (stats["last_at"] - stats["opened_at"]),
        middle_rate=(arrived - 1 - 2 * tenth) / (stats["nine_tenths_at"] - stats["tenth_at"]),
        cpu=(busy.cpu - first.used.cpu) / meanwhile,
        commands=(last.commands - first.commands) / meanwhile,
        reads=(last.reads - first.reads) / meanwhile,
        used=busy,
    )


def _commands(client: redis.Redis) -> tuple[int, int]:
    """How many commands Redis has run, those within scripts included, and how often it has read from a connection."""
    stats = cast("dict[str, int]", client.info("stats"))
    return stats["total_commands_processed"], stats["total_reads_processed"]
