"""Who has a path for what is rejected: this project, on each database, and the peers that have one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, cast

from benchmarks.consumers import CONSUMERS, OURS, Consumer, ours
from benchmarks.databases import KINDS
from benchmarks.days import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.databases import Database
    from benchmarks.days import Day
    from benchmarks.draining import Gathered

__all__ = ["Subject", "subjects"]

_ENDS: Final = ("delivered", "duplicate", "stale", "dead", "revoked")
"""What an accepted event ends as: fields of the hash ``feedback:counts``."""

_PEERS_DAYS: Final = {GOOD.name, "all-404", "tenth-404"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A consumer with a path for what is rejected.

    Attributes:
        name: What it is called in the tables.
        consumer: Its workers.
        kind: Of the database that it has.
        ended: How many events have ended.
        prepare: The arguments of Python that make its database ready, after ours.
    """

    name: str
    consumer: Consumer
    kind: str
    ended: Callable[[Gathered, Database], int]
    prepare: tuple[str, ...] = ()

    def has(self, day: Day) -> bool:
        """Whether it is measured on such a day: peers don't replay, and retry in other ways."""
        return self.consumer.name == OURS or day.name in _PEERS_DAYS


def subjects(kinds: Iterable[str]) -> Iterator[Subject]:
    """Yield every subject, where dead letters may go to these kinds of databases."""
    peers = {each.name: each for each in CONSUMERS}
    for kind in kinds:
        yield Subject(name=f"{OURS}, {KINDS[kind]}", consumer=ours(), kind=kind, ended=_ours)
    yield Subject(name="dramatiq, dead-letter queue", consumer=peers["dramatiq"], kind="sqlite", ended=_dramatiq)
    yield Subject(name="RQ, failed registry", consumer=peers["RQ"], kind="sqlite", ended=_rq)
    threads = peers["Celery, threads"]
    module = "benchmarks.peers.celery_on_failure"
    commands = tuple(
        tuple(module if word == "benchmarks.peers.celery" else word for word in command) for command in threads.commands
    )
    for kind in kinds:
        yield Subject(
            name=f"Celery, threads, on_failure, {KINDS[kind]}",
            consumer=replace(threads, commands=commands),
            kind=kind,
            ended=_celery,
            prepare=("-m", module),
        )


def _ours(at_gate: Gathered, _: Database) -> int:
    counts = cast("dict[bytes, bytes]", at_gate.client.hgetall("feedback:counts"))
    return sum(int(counts.get(end.encode(), 0)) for end in _ENDS)


def _dramatiq(at_gate: Gathered, _: Database) -> int:
    return _taken(at_gate) + at_gate.client.zcard("dramatiq:default.XQ")


def _rq(at_gate: Gathered, _: Database) -> int:
    return _taken(at_gate) + at_gate.client.zcard("rq:failed:default")


def _celery(at_gate: Gathered, database: Database) -> int:
    return _taken(at_gate) + database.number("SELECT count(*) FROM bench_failures")


def _taken(at_gate: Gathered) -> int:
    """How many were answered 200: a queue without counts leaves no other trace of them."""
    stats: dict[str, Any] = at_gate.servers.ask(f"{at_gate.url}/stats")
    return int(stats["taken"])
