"""``python -m benchmarks.past_one``: how many servers and workers a rate takes, from what was measured in a cluster."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from producer.partitions import MOST_PARTITIONS, ON_A_CLUSTER

__all__ = ["RATES", "Costs", "Size", "page", "size"]

_ROOT: Final = Path(__file__).resolve().parent.parent
_MEASURED: Final = _ROOT / "docs" / "performance" / "cluster.json"
_TEMPLATE: Final = Path(__file__).with_suffix(".md")
_PAGE: Final = _ROOT / "docs" / "performance" / "past-one-redis.md"

RATES: Final = (10_000, 100_000, 1_000_000)
"""Events in a second."""

_BUSY: Final = 0.6
"""The part of a core that is planned for: the rest is for bursts, failovers, snapshots and other machines' noise."""

_MONITORED: Final = 1_114
"""Bytes of Celery's events for monitors that a delivered event takes, as a subscriber counted them."""

_WAITING: Final = 650
"""Bytes of Redis' memory that an event takes while it waits (memory.md)."""

_CONNECTIONS: Final = 3
"""That a worker has to each partition: fetching, the lease, broadcasts. Those for scripts are shared by node."""

_PRIMARIES_MEASURED: Final = 3
_PARTITIONS: Final = (ON_A_CLUSTER, 32, 64, 128, MOST_PARTITIONS)
_HOUR: Final = 3600
_SECOND: Final = 1000.0
_MEGA: Final = 1_000_000
_GIGA: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured in a cluster; milliseconds of CPU.

    Attributes:
        enqueue: Of a server, for an event that is enqueued in a chunk of 500.
        alone: Of a server, for one that is enqueued by itself.
        deliver: Of a server, for an event that is delivered.
        look: Of a server in a second, for one partition that an idle worker looks at.
        worker: Of a worker, for an event.
    """

    enqueue: float
    alone: float
    deliver: float
    look: float
    worker: float

    @classmethod
    def measured(cls, file: Path = _MEASURED) -> Self:
        """Read them from the samples of `benchmarks.cluster`."""
        samples: list[dict[str, Any]] = json.loads(file.read_text())["samples"]

        def of(case: str, figure: str) -> float:
            found = [s["figures"][figure] for s in samples if s["case"] == case and "cluster" in s["subject"]]
            return float(median(found))

        idle = "an idle worker"
        return cls(
            enqueue=of("enqueue_many of 500", "servers' CPU µs/event") / 1000,
            alone=of("enqueue", "servers' CPU µs/event") / 1000,
            deliver=of("deliver", "servers' CPU ms/event"),
            look=max(of(idle, "servers' CPU ms/s") - of(idle, "without it"), 0.01) / ON_A_CLUSTER,
            worker=of("deliver", "CPU ms/event"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a rate takes.

    Attributes:
        rate: Events in a second.
        primaries: Servers, each with as many replicas as are asked for.
        partitions: A power of two, such that the primaries have about as many each.
        workers: Worker processes, of one core each.
        work: The part of its core that events take, of a primary with most partitions.
        looks: The part that workers take which look for events where there are none, if all partitions are empty.
        connections: To each primary.
        backlog: Gigabytes on each primary, of an hour in which nothing is delivered.
        monitored: Megabytes a second that each node is sent, replicas too, while monitors are told of each event.
    """

    rate: int
    primaries: int
    partitions: int
    workers: int
    work: float
    looks: float
    connections: int
    backlog: float
    monitored: float


def size(costs: Costs, rate: int) -> Size:
    """Return what a rate takes.

    Raises:
        ValueError: There can't be so many partitions.
    """
    work = rate * (costs.enqueue + costs.deliver) / _SECOND
    possible = [
        (primaries, partitions)
        for partitions in _PARTITIONS
        for primaries in range(_PRIMARIES_MEASURED, partitions + 1)
        if work * math.ceil(partitions / primaries) / partitions <= _BUSY
    ]
    if not possible:
        raise ValueError(f"{rate} events in a second take more than {MOST_PARTITIONS} partitions")
    primaries, partitions = min(possible)
    workers = math.ceil(rate * costs.worker / _SECOND / _BUSY)
    of_a_primary = math.ceil(partitions / primaries)
    return Size(
        rate=rate,
        primaries=primaries,
        partitions=partitions,
        workers=workers,
        work=work * of_a_primary / partitions,
        looks=workers * of_a_primary * costs.look / _SECOND,
        connections=workers * of_a_primary * _CONNECTIONS,
        backlog=rate * _HOUR * _WAITING / primaries / _GIGA,
        monitored=rate * _MONITORED / _MEGA,
    )


def page(costs: Costs) -> str:
    """Return the page, in Markdown."""
    rows = [size(costs, rate) for rate in RATES]
    table = "\n".join(
        f"| {row.rate:,} | {row.primaries} | {row.partitions} | {row.workers:,} | {row.work:.0%} | {row.looks:.1%} "
        f"| {row.connections:,} | {row.backlog:.1f} GB | {row.monitored:,.0f} MB/s |"
        for row in rows
    )
    return _TEMPLATE.read_text().format(
        table=table,
        enqueue=costs.enqueue * 1000,
        alone=costs.alone * 1000,
        deliver=costs.deliver * 1000,
        look=costs.look * 1000,
        worker=costs.worker,
        monitored=_MONITORED,
        waiting=_WAITING,
        busy=_BUSY,
        each=1 / ((costs.enqueue + costs.deliver) / _SECOND) * _BUSY,
    )


def main() -> None:
    """Write the page."""
    _PAGE.write_text(page(Costs.measured()))


if __name__ == "__main__":
    main()
