"""What a bad day costs beside a good one: events that die, are tried again, are replayed or repeat earlier ones."""

from __future__ import annotations

import time
from itertools import product
from typing import TYPE_CHECKING, Final, cast

from benchmarks.backlog import Backlogs
from benchmarks.databases import Databases
from benchmarks.days import DAYS, GOOD
from benchmarks.dead_letter_paths import subjects
from benchmarks.draining import gathered
from benchmarks.sample import Measurement, Sample
from benchmarks.usage import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.databases import Database
    from benchmarks.days import Day
    from benchmarks.dead_letter_paths import Subject
    from benchmarks.draining import Gathered
    from benchmarks.plan import Plan

__all__ = ["BADDAY", "badday"]

_API: Final = 0.05
_LOOK: Final = 0.02
_IDLE: Final = 30
"""Seconds without an event that ends, after which what is missing will not end."""

BADDAY: Final = Measurement(
    name="badday",
    title="Bad days",
    text=f"A queue is emptied as in `deliver`, with an API that takes {_API * 1000:.0f} ms, and that answers by the "
    "request_id alone, so that all get the same. The rate is counted until the last event has ended: delivered, or in "
    "the dead letters and acknowledged. Requests are also those that an answer asked for again; their middle rate is "
    "without the first tenth of them and the last, so that it does not count the wait of the last retries. A replay is "
    "of as many dead letters as there are events, and its rate is from the first arrival until the last row says "
    "delivered. Ratios are to the good day of the same subject in the same round; that of the requests is between "
    "middle rates. CPU is that of all the workers' processes; that of Redis and of the database's server stand beside "
    "it. The peers are those that have a path for what is rejected: dramatiq's dead-letter queue and RQ's failed "
    "registry, which are in Redis, and Celery's `on_failure`, which inserts a row by SQLAlchemy.",
)


def badday(plan: Plan) -> Iterator[Sample]:
    """Let every subject have every day that it can have, round by round, its good day before the others."""
    backlogs = Backlogs(folder=plan.snapshots)
    days = [day for day in DAYS.values() if day.name in plan.days]
    those = plan.chosen(subjects(plan.databases), name=lambda each: each.name)
    with Databases() as databases:
        for _ in range(plan.rounds):
            good: dict[str, dict[str, float]] = {}
            for day, subject in product(days, those):
                if not subject.has(day):
                    continue
                plan.tell(f"{day.title}: {subject.name}, {subject.consumer.events(plan.events):,} events")
                sample = _measure(day, subject, databases.fresh(subject.kind), plan.events, backlogs)
                if day == GOOD:
                    good[subject.name] = sample.figures
                elif subject.name in good:
                    sample.figures.update(_ratios(sample.figures, good[subject.name]))
                yield sample


def _ratios(figures: dict[str, float], good: dict[str, float]) -> dict[str, float]:
    """Those to a good day."""
    names = {"events/s": "of a good day", "middle requests/s": "requests of a good day", "CPU ms/event": "its CPU"}
    return {ratio: figures[name] / good[name] for name, ratio in names.items()}


def _measure(day: Day, subject: Subject, database: Database, number: int, backlogs: Backlogs) -> Sample:
    consumer = subject.consumer
    events = consumer.events(number)
    backlog = backlogs.of(str(consumer.sender), events, repeats=day.repeats)
    with gathered(
        consumer, events, latency=_API, backlog=backlog, day=day, database=database.url, prepare=subject.prepare
    ) as at_gate:
        watch = _Watch(at_gate, database)
        at_gate.servers.ask(f"{at_gate.url}/open")
        ended = _await(lambda: subject.ended(at_gate, database), events)
        if day.replayed and ended == events:
            watch = _Watch(at_gate, database)
            ended = _replay(at_gate, database, events)
        figures = watch.figures(ended)
    return Sample(
        case=day.title,
        subject=subject.name,
        setup=f"{consumer.setup}; {events:,} events",
        figures=figures,
        missing=events - ended,
    )


def _replay(at_gate: Gathered, database: Database, events: int) -> int:
    """Replay all that died, now that all is delivered; return how many rows say so."""
    for order in ("reset", f"day/{GOOD.name}"):
        at_gate.servers.ask(f"{at_gate.url}/{order}")
    at_gate.servers.run_python(*["-m", "worker.operations.cli", "dead-letters", "replay", "--yes", "--no-wait"])
    # The table is not asked before it can be so far: readers would be in the writers' way.
    _await(lambda: int(at_gate.servers.ask(f"{at_gate.url}/stats")["distinct"]), events)
    return _await(lambda: database.number("SELECT count(*) FROM dead_letters WHERE state = 'delivered'"), events)


def _await(ended: Callable[[], int], events: int) -> int:
    """Look on until so many have ended, or none has for a while; return how many have."""
    seen, since = 0, time.monotonic()
    while seen < events and time.monotonic() - since < _IDLE:
        time.sleep(_LOOK)
        now = ended()
        if now > seen:
            seen, since = now, time.monotonic()
    return seen


class _Watch:
    """Counts from now on what is used, and says in the end what that was for each event.

    Args:
        at_gate: The workers.
        database: Theirs.
    """

    def __init__(self, at_gate: Gathered, database: Database) -> None:
        self._at_gate = at_gate
        self._database = database
        self._before = self._used()

    def figures(self, ended: int) -> dict[str, float]:
        """Return everything, the rate first."""
        until = time.monotonic()
        workers, redis, database = (
            (after - before) / max(ended, 1) * 1000 for after, before in zip(self._used(), self._before, strict=True)
        )
        stats = self._at_gate.servers.ask(f"{self._at_gate.url}/stats")
        seconds = until - (stats["opened_at"] or stats["first_at"])
        requests = int(stats["requests"])
        middle = requests - 1 - 2 * (requests // 10)
        return {
            "events/s": (ended - stats["at_opening"]) / seconds,
            "middle requests/s": middle / (stats["request_nine_tenths_at"] - stats["request_tenth_at"]),
            "CPU ms/event": workers,
            "Redis CPU ms/event": redis,
            "database CPU ms/event": database,
        }

    def _used(self) -> tuple[float, float, float]:
        """Seconds of CPU so far: of the workers, of Redis, of the database's server."""
        told = cast("dict[str, float]", self._at_gate.client.info("cpu"))
        workers = usage(worker.process.pid for worker in self._at_gate.workers).cpu
        return workers, told["used_cpu_sys"] + told["used_cpu_user"], self._database.cpu()
