"""How this project's worker behaves as the backlog grows, and as there are more workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.backlog import Backlogs
from benchmarks.consumers import OURS, ours
from benchmarks.draining import drain
from benchmarks.plan import MILLION
from benchmarks.sample import Measurement, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan

__all__ = ["SCALE", "scale"]

_PROCESSES: Final = (1, 2, 4)
_OF_MANY: Final = (2,)
"""With a million events it is looked at whether it is the same, and not again how it is with other numbers."""

_API: Final = 0.05
_MEBIBYTE: Final = 2**20

SCALE: Final = Measurement(
    name="scale",
    title="Scale",
    text=f"The worker of {OURS} empties a queue, with an API that answers after {_API * 1000:.0f} ms. Memory is what "
    "the largest worker process has resident when the last event has arrived.",
    ranked=False,
)


def scale(plan: Plan) -> Iterator[Sample]:
    """Empty each backlog with each number of workers, round by round."""
    backlogs = Backlogs(folder=plan.snapshots)
    for _ in range(plan.rounds):
        for number in plan.backlogs:
            for processes in _PROCESSES if number < MILLION else _OF_MANY:
                plan.tell(f"{number:,} events, {processes} workers")
                consumer = ours(processes)
                backlog = backlogs.of(str(consumer.sender), number)
                drained = drain(consumer, number, latency=_API, backlog=backlog)
                yield Sample(
                    case=f"{number:,} events",
                    subject=f"{processes} worker{'s' if processes > 1 else ''}",
                    setup=consumer.setup,
                    figures={
                        "events/s": drained.rate,
                        "middle events/s": drained.middle_rate,
                        "CPU ms/event": drained.cpu * 1000,
                        "MiB of a worker": drained.used.largest / _MEBIBYTE,
                    },
                    missing=drained.missing,
                )
