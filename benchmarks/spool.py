"""What the spool costs: while Redis hangs, when it is sent, and while Redis is well."""

from __future__ import annotations

import json
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from benchmarks import ours
from benchmarks.consumers import OURS
from benchmarks.sample import Measurement, Sample
from benchmarks.servers import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan
    from benchmarks.servers import Rig

__all__ = ["SPOOL", "spool"]

_SECONDS: Final = 4
_ENDLESS: Final = 10**7
_BATCH: Final = 500
_WITH: Final = f"{OURS} with a spool"
_HANGS: Final = "Redis hangs"
_WELL: Final = "Redis is well"

SPOOL: Final = Measurement(
    name="spool",
    title="The spool",
    text="Redis hangs: it is stopped (SIGSTOP), each thread or task has found that out in one call before, and calls "
    f"are counted for {_SECONDS} s; the limit appends a line and syncs it, one by one. Sending: a full spool is sent, "
    f"beside `enqueue_many` of as many mappings, in chunks of {_BATCH}. Redis is well: `enqueue` with and without it.",
    ranked=False,
)

_CASES: Final[tuple[tuple[str, str, str, int], ...]] = (
    (f"{_HANGS}, 1 thread", "bare append and fdatasync", "benchmarks.limits.appending:Appending", 1),
    (f"{_HANGS}, 1 thread", _WITH, "benchmarks.ours:Spooling", 1),
    (f"{_HANGS}, 8 threads", "bare append and fdatasync", "benchmarks.limits.appending:Appending", 8),
    (f"{_HANGS}, 8 threads", _WITH, "benchmarks.ours:Spooling", 8),
    (f"{_HANGS}, 64 tasks", f"{_WITH}, asyncio", "benchmarks.ours:AsyncSpooling", 64),
    (f"{_WELL}, 1 thread", OURS, "benchmarks.ours:Blocking", 1),
    (f"{_WELL}, 1 thread", _WITH, "benchmarks.ours:Spooling", 1),
    (f"{_WELL}, 64 tasks", f"{OURS}, asyncio", "benchmarks.ours:Asynchronous", 64),
    (f"{_WELL}, 64 tasks", f"{_WITH}, asyncio", "benchmarks.ours:AsyncSpooling", 64),
)


def spool(plan: Plan) -> Iterator[Sample]:
    """Measure every case, round by round."""
    for _ in range(plan.rounds):
        for case, subject, sender, concurrency in _CASES:
            plan.tell(f"{case}: {subject}")
            told = _send(sender, concurrency, hangs=case.startswith(_HANGS), events=_ENDLESS, seconds=_SECONDS)
            yield Sample(case=case, subject=subject, figures=told)
        for events in plan.queued:
            yield from _drain(plan, events)


def _drain(plan: Plan, events: int) -> Iterator[Sample]:
    case = f"{events:,} events are sent"
    plan.tell(case)
    told = _send("benchmarks.ours:Blocking", 1, hangs=False, events=events, seconds=600, batch=_BATCH)
    figures = {name: told[name] for name in ("events/s", "CPU µs/event")}
    yield Sample(case=case, subject="enqueue_many", figures=figures)
    with rig() as servers, closing(servers.start_redis()):
        _name_spool(servers)
        found = json.loads(servers.run_python("-m", "benchmarks.spool_sending", str(events)))
    yield Sample(case=case, subject="from the spool", figures=found)


def _send(sender: str, concurrency: int, *, hangs: bool, events: int, seconds: float, batch: int = 1) -> dict[str, Any]:
    limits = ("--events", str(events), "--seconds", str(seconds))
    size = ("--concurrency", str(concurrency), "--batch", str(batch))
    with rig() as servers, closing(servers.start_redis()):
        _name_spool(servers)
        if hangs:
            servers.parts[-1].process.send_signal(signal.SIGSTOP)
        told: dict[str, Any] = json.loads(servers.run_python("-m", "benchmarks.sending", sender, *limits, *size))
    return told


def _name_spool(servers: Rig) -> None:
    servers.environment[ours.SPOOL] = str(servers.folder / "spool")
