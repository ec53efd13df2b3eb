"""What is measured as a consumer: this project's worker, the peers', and requests that no queue stands before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["CONSUMERS", "OURS", "Consumer", "ours"]

OURS: Final = "aquilax-feedback"


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A consumer and how it is set up.

    Attributes:
        name: What it is called in the tables.
        setup: How many processes and requests at once it has.
        at_once: The same, as a number.
        sender: What fills its queue, as ``module:Class``; None if it has no queue and takes the events' number.
        commands: The arguments of Python that start it, for each process.
        environment: What is added to the environment.
        share: The part of the events that is enough for one that takes long.
        keeps_up: Whether it can take 200 events in a second, from an API that answers after 50 ms.
    """

    name: str
    setup: str
    at_once: int
    sender: str | None
    commands: tuple[tuple[str, ...], ...]
    environment: dict[str, str] = field(default_factory=dict)
    share: float = 1
    keeps_up: bool = True

    def events(self, number: int) -> int:
        """How many of so many events it is given."""
        return max(100, round(number * self.share))


def ours(processes: int = 2) -> Consumer:
    """Return this project's worker, with its defaults but for 100 requests at once: as many as its peers have."""
    return Consumer(
        name=OURS,
        setup=f"{processes} x 100 requests",
        at_once=processes * 100,
        sender="benchmarks.ours:Blocking",
        commands=tuple(
            ("-m", "worker.operations.cli", "worker", "--loglevel=INFO", "-n", f"worker{number}@%h")
            for number in range(1, processes + 1)
        ),
    )


def _celery(number: int, *options: str) -> tuple[str, ...]:
    return ("-m", "celery", "-A", "benchmarks.peers.celery", "worker", "-n", f"worker{number}@%h", *options)


def _bare(kind: str) -> tuple[tuple[str, ...], ...]:
    return tuple(("-m", "benchmarks.limits.requesting", kind, "--turn", str(turn)) for turn in (0, 1))


_CELERY: Final = "benchmarks.peers.celery:Sending"
_DRAMATIQ: Final = ("-m", "dramatiq", "benchmarks.peers.dramatiq", "-p", "2", "-t", "50")
_HUEY: Final = ("-m", "huey.bin.huey_consumer", "benchmarks.peers.huey.huey", "-w", "100", "-k", "thread", "-q")
_RQ: Final = ("-m", "benchmarks.peers.rq")
_TASKIQ: Final = (
    *("-m", "taskiq", "worker", "benchmarks.peers.taskiq:broker"),
    *("--workers", "2", "--max-async-tasks", "100", "--log-level", "WARNING"),
)

CONSUMERS: Final = (
    ours(),
    Consumer(
        name="Celery, threads",
        setup="2 x 100 threads, prefetch 4",
        at_once=200,
        sender=_CELERY,
        commands=(_celery(1, "-P", "threads", "-c", "100"), _celery(2, "-P", "threads", "-c", "100")),
        share=0.25,
    ),
    Consumer(
        name="Celery, gevent",
        setup="2 x 100 greenlets, prefetch 4",
        at_once=200,
        sender=_CELERY,
        commands=(_celery(1, "-P", "gevent", "-c", "100"), _celery(2, "-P", "gevent", "-c", "100")),
        environment={"BENCH_SHARED_SESSION": "1"},
        share=0.2,
    ),
    Consumer(
        name="Celery, prefork",
        setup="16 processes, prefetch 4",
        at_once=16,
        sender=_CELERY,
        commands=(_celery(1, "-P", "prefork", "-c", "16"),),
        share=0.15,
    ),
    Consumer(
        name="dramatiq",
        setup="2 x 50 threads",
        at_once=100,
        sender="benchmarks.peers.dramatiq:Sending",
        commands=(_DRAMATIQ,),
        share=0.5,
    ),
    Consumer(
        name="huey",
        setup="1 x 100 threads",
        at_once=100,
        sender="benchmarks.peers.huey:Sending",
        commands=(_HUEY,),
        share=0.25,
    ),
    Consumer(
        name="RQ",
        setup="4 SimpleWorkers",
        at_once=4,
        sender="benchmarks.peers.rq:Sending",
        commands=(_RQ,),
        share=0.05,
        keeps_up=False,
    ),
    Consumer(
        name="arq",
        setup="1 process, 200 jobs, aiohttp",
        at_once=200,
        sender="benchmarks.peers.arq:Sending",
        commands=(("-m", "benchmarks.peers.arq"),),
        share=0.5,
    ),
    Consumer(
        name="taskiq",
        setup="2 x 100 tasks, aiohttp",
        at_once=200,
        sender="benchmarks.peers.taskiq:Sending",
        commands=(_TASKIQ,),
    ),
    Consumer(
        name="no queue: requests, Session.get",
        setup="2 x 100 threads",
        at_once=200,
        sender=None,
        commands=_bare("session"),
        share=0.5,
    ),
    Consumer(
        name="no queue: requests, prepared + adapter",
        setup="2 x 100 threads",
        at_once=200,
        sender=None,
        commands=_bare("adapter"),
    ),
    Consumer(name="no queue: aiohttp", setup="2 x 100 tasks", at_once=200, sender=None, commands=_bare("aiohttp")),
)
