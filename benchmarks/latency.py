"""How long an event takes from the backend to AquilaX while there is no backlog."""

from __future__ import annotations

import json
import time
from contextlib import closing
from http import HTTPStatus
from itertools import product
from typing import TYPE_CHECKING, Final

from benchmarks.consumers import CONSUMERS, OURS
from benchmarks.databases import KINDS, Databases
from benchmarks.days import GOOD, HALF, status_of
from benchmarks.sample import Measurement, Sample, quantile
from benchmarks.servers import rig
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.consumers import Consumer
    from benchmarks.days import Day
    from benchmarks.plan import Plan
    from benchmarks.servers import Rig

__all__ = ["LATENCY", "latency"]

_RATE: Final = 200
_BAD_RATES: Final = (_RATE, 1_000)
_SECONDS: Final = 15
_API: Final = 0.05
_WARM: Final = 400
"""Events beforehand: until all workers are up and have opened their connections."""

_WITHIN: Final = 60
"""Seconds in which these arrive."""

_LATEST: Final = 5
"""Seconds that the last event may take."""

LATENCY: Final = Measurement(
    name="latency",
    title="Latency",
    text=f"{_RATE} events are enqueued in each second, for {_SECONDS} s, and answered by the API after "
    f"{_API * 1000:.0f} ms. What is measured is the time from just before the call that enqueues an event until its "
    "request arrives, so the API's own time is not in it. RQ, whose workers do one thing at a time, does not keep up "
    "with that, and is left out. On the bad day every second answer is 404, also to the events beforehand, and only "
    "the others are measured.",
    more_is_better=False,
)


def latency(plan: Plan) -> Iterator[Sample]:
    """Measure every consumer that keeps up, and ours on a bad day too, round by round."""
    those = [each for each in CONSUMERS if each.keeps_up and each.sender]
    with Databases() as databases:
        for _ in range(plan.rounds):
            for consumer in plan.chosen(those, name=lambda each: each.name):
                plan.tell(consumer.name)
                yield _measure(consumer, case=f"{_RATE} events/s", rate=_RATE)
                if consumer.name != OURS:
                    continue
                for rate, kind in product(_BAD_RATES, plan.databases):
                    case = f"{rate:,} events/s, {HALF.title}: {KINDS[kind]}"
                    plan.tell(case)
                    yield _measure(consumer, case=case, rate=rate, day=HALF, database=databases.fresh(kind).url)


def _measure(consumer: Consumer, *, case: str, rate: int, day: Day = GOOD, database: str | None = None) -> Sample:
    with rig() as servers, closing(servers.start_redis()):
        url = servers.start_target(_API, day)
        servers.create_database(database)
        servers.launch(consumer.commands, consumer.environment)
        _send(servers, consumer, _WARM, rate=_RATE, seed=1)
        _await(servers, url, _WARM, within=_WITHIN)
        servers.ask(f"{url}/reset")
        sent = _send(servers, consumer, rate * _SECONDS, rate=rate, seed=2)
        _await(servers, url, len(sent), within=_LATEST, strict=False)
        arrived = servers.ask(f"{url}/arrivals")
    sent = {each: at for each, at in sent.items() if status_of(day, each.encode(), is_first=True) == HTTPStatus.OK}
    took = sorted((arrived[each] - sent[each]) * 1000 for each in sent if each in arrived)
    if not took:
        raise StackError(f"nothing arrived that was sent by {consumer.name}")
    figures = {f"p{part:.0%} ms".replace("%", ""): quantile(took, part) for part in (0.5, 0.95, 0.99)}
    return Sample(
        case=case,
        subject=consumer.name,
        setup=consumer.setup,
        figures=figures | {"longest ms": took[-1]},
        missing=len(sent) - len(took),
    )


def _send(servers: Rig, consumer: Consumer, number: int, *, rate: int, seed: int) -> dict[str, float]:
    much = ("--number", str(number), "--rate", str(rate), "--seed", str(seed))
    sent: dict[str, float] = json.loads(servers.run_python("-m", "benchmarks.pacing", str(consumer.sender), *much))
    return sent


def _await(servers: Rig, url: str, number: int, *, within: float, strict: bool = True) -> None:
    deadline = time.monotonic() + within
    while servers.ask(f"{url}/stats")["distinct"] < number:
        if time.monotonic() > deadline:
            if strict:
                raise StackError(f"not all of {number} events arrived within {within} s")
            return
        time.sleep(0.1)
