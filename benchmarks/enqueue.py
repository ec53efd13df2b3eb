"""What enqueueing costs: each sender in a process of its own, in calls of one event and of many."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.consumers import OURS
from benchmarks.sample import Measurement, Sample
from benchmarks.servers import rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan

__all__ = ["ENQUEUE", "enqueue"]

_SECONDS: Final = 3
_MORE: Final = 10
"""Times as many events in batches, or they would be over at once."""

_CONCURRENCIES: Final = (1, 8, 64)

ENQUEUE: Final = Measurement(
    name="enqueue",
    title="Enqueue",
    text="One process puts events into Redis, from threads or from tasks of asyncio that each wait for a call before "
    f"they make the next, until it has put in as many as were asked for, or for {_SECONDS} s. CPU is that process's, "
    "in its own code and in the kernel. p50 and p99 are of one call, which is a whole batch where there are batches. "
    "What is named with a replica waits for one, which runs on the same machine.",
)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A sender; with the sizes of batches that it has a way for."""

    name: str
    sender: str
    setup: str = "threads"
    batches: tuple[int, ...] = ()
    singles: bool = True
    replicated: bool = False


_SUBJECTS: Final = (
    _Subject(name=OURS, sender="benchmarks.ours:Blocking", batches=(100, 500)),
    _Subject(name=f"{OURS}, asyncio", sender="benchmarks.ours:Asynchronous", setup="tasks", batches=(100, 500)),
    _Subject(name=f"{OURS}, a replica", sender="benchmarks.ours:Replicated", batches=(100, 500), replicated=True),
    _Subject(
        name=f"{OURS}, asyncio, a replica",
        sender="benchmarks.ours:AsyncReplicated",
        setup="tasks",
        batches=(100, 500),
        replicated=True,
    ),
    _Subject(name="Celery", sender="benchmarks.peers.celery:Sending", batches=(100, 500)),
    _Subject(name="dramatiq", sender="benchmarks.peers.dramatiq:Sending"),
    _Subject(name="huey", sender="benchmarks.peers.huey:Sending"),
    _Subject(name="RQ", sender="benchmarks.peers.rq:Sending", batches=(100, 500)),
    _Subject(name="arq", sender="benchmarks.peers.arq:Sending", setup="tasks"),
    _Subject(name="taskiq", sender="benchmarks.peers.taskiq:Sending", setup="tasks"),
    _Subject(name="bare LPUSH, redis-py", sender="benchmarks.limits.lpush:Pipelined"),
    _Subject(
        name="bare LPUSH, pipelined", sender="benchmarks.limits.lpush:Pipelined", batches=(100, 500), singles=False
    ),
    _Subject(name="bare LPUSH, variadic", sender="benchmarks.limits.lpush:Variadic", batches=(100, 500), singles=False),
)


def enqueue(plan: Plan) -> Iterator[Sample]:
    """Measure every sender in every case, round by round."""
    subjects = plan.chosen(_SUBJECTS, name=lambda subject: subject.name)
    with rig() as servers, ExitStack() as opened:
        clients = [opened.enter_context(closing(servers.start_redis()))]
        if any(subject.replicated for subject in subjects):
            clients.append(opened.enter_context(closing(servers.start_replicated_redis())))
        for _ in range(plan.rounds):
            for concurrency, batch in (*((number, 1) for number in _CONCURRENCIES), (1, 100), (1, 500)):
                case = f"batches of {batch}" if batch > 1 else f"{concurrency} at once"
                for subject in subjects:
                    if batch in subject.batches or (batch == 1 and subject.singles):
                        plan.tell(f"{case}: {subject.name}")
                        for client in clients:
                            client.flushall()
                        size = ("--concurrency", str(concurrency), "--batch", str(batch))
                        limits = (
                            "--events",
                            str(plan.events * (_MORE if batch > 1 else 1)),
                            "--seconds",
                            str(_SECONDS),
                        )
                        told = servers.run_python("-m", "benchmarks.sending", subject.sender, *limits, *size)
                        yield Sample(case=case, subject=subject.name, setup=subject.setup, figures=json.loads(told))
