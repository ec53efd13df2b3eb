"""One queue, emptied: fill it, start the workers, and look on until every event has arrived."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from benchmarks.sender import EVENTS
from benchmarks.servers import rig
from benchmarks.usage import Usage, usage
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from benchmarks.consumers import Consumer
    from benchmarks.servers import Rig
    from worker.sandbox.stack import Part

__all__ = ["Drained", "drain"]

_STARTED_WITHIN: Final = 60
_IDLE: Final = 8
"""Seconds without a new event after which what is missing will not come: with any of them it would come minutes later,
when somebody else takes over what a dead worker held."""

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
        rate: Events in a second, from the first to the last that arrived.
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


def drain(consumer: Consumer, events: int, *, latency: float, backlog: Path | None) -> Drained:
    """Let a consumer deliver so many events.

    Args:
        consumer: Who.
        events: How many there are.
        latency: Seconds that the API takes for each.
        backlog: The snapshot of the Redis that they are in; None if there is no queue.

    Raises:
        StackError: Nothing arrived.
    """
    with rig() as servers, closing(servers.start_redis(backlog)) as client:
        url = servers.start_target(latency)
        servers.create_database()
        workers = servers.launch(consumer.commands, {EVENTS: str(events), **consumer.environment})
        pids = [worker.process.pid for worker in workers]

        def look() -> _Look:
            commands, reads = _commands(client)
            return _Look(stats=servers.ask(f"{url}/stats"), used=usage(pids), commands=commands, reads=reads)

        _await_first(workers, servers, url)
        first = look()
        _await_all(servers, url, events)
        busy = usage(pids)
        time.sleep(latency + _SETTLED)
        last = look()
    return _drained(first, last, busy, events)


def _await_first(workers: list[Part], servers: Rig, url: str) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN
    while not servers.ask(f"{url}/stats")["distinct"]:
        if time.monotonic() > deadline or not any(worker.is_running for worker in workers):
            raise StackError(f"nothing arrived:\n{workers[0].said()[-4000:]}")
        time.sleep(_LOOK)


def _await_all(servers: Rig, url: str, events: int) -> None:
    seen, since = 0, time.monotonic()
    while seen < events and time.monotonic() - since < _IDLE:
        time.sleep(_LOOK)
        now = int(servers.ask(f"{url}/stats")["distinct"])
        if now > seen:
            seen, since = now, time.monotonic()


def _drained(first: _Look, last: _Look, busy: Usage, events: int) -> Drained:
    stats, arrived = last.stats, last.arrived
    meanwhile = max(1, arrived - first.arrived)
    tenth = arrived // 10
    return Drained(
        events=arrived,
        missing=events - arrived,
        doubled=int(stats["requests"]) - arrived,
        rate=(arrived - 1) / (stats["last_at"] - stats["first_at"]),
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
