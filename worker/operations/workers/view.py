"""Each worker as its lease and its own answer tell it; one that holds a lease and answers nothing is told as well."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from producer.message import QUEUE
from worker.accounting.lease_holders import LeaseHolder
from worker.accounting.snapshot import text_of
from worker.broker.keys import broker_keys
from worker.dead_letters.replays.queue import REPLAYS
from worker.runtime.inspect_stats import ABOUT, IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import redis

    from worker.clients.redis.partitions import Partitions
    from worker.operations.doctor.fleet import Fleet

__all__ = ["Difference", "HeldLeases", "WorkerView", "leases_of", "view_of_workers"]

_LOOKED_AT: Final = 500
"""Messages of each lease that are asked since when they are in flight."""

OUR_QUEUES: Final = (QUEUE, REPLAYS)


class Difference(NamedTuple):
    """A setting whose value is another one than most workers have: no secret is among those that workers tell."""

    setting: str
    value: str
    most: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lease:
    """A worker's lease in one partition."""

    partition: int
    holder: LeaseHolder
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLeases:
    """The leases of all partitions that could be asked.

    Attributes:
        leases: Each of them.
        asked: The numbers of these partitions.
        unavailable: The numbers of the others.
    """

    leases: tuple[_Lease, ...] = ()
    asked: tuple[int, ...] = ()
    unavailable: tuple[int, ...] = ()

    @property
    def alive(self) -> list[LeaseHolder]:
        """The holders whose lease lasts."""
        return [lease.holder for lease in self.leases if lease.holder.is_alive]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """One worker.

    Attributes:
        name: Its node name; that of its process if it did not tell one.
        process: Its host and process; '' if it has no lease.
        answers: Whether it answered; None if that is not known yet.
        same_name: How many workers have this name.
        version: Its release; '' if it did not tell.
        is_other_version: Whether most workers are of another release.
        differences: Settings in which it differs from most workers.
        holds: How many messages it has in flight.
        since: Since when the oldest of these, as far as was looked.
        without_end: For how long none of these has ended; None if it did not tell.
        lease_left: How long its lease lasts; not positive if it has ended; None without one.
        places: How many deliveries it may have at once; None if it did not tell.
        busy: How many it has; likewise.
        uptime: Since it started; likewise.
        queues: Which of our queues it consumes; likewise.
        away: The partitions that it does not consume, of those that could be asked.
    """

    name: str
    process: str = ""
    answers: bool | None = None
    same_name: int = 1
    version: str = ""
    is_other_version: bool = False
    differences: tuple[Difference, ...] = ()
    holds: int = 0
    since: datetime | None = None
    without_end: timedelta | None = None
    lease_left: timedelta | None = None
    places: int | None = None
    busy: int | None = None
    uptime: timedelta | None = None
    queues: tuple[str, ...] | None = None
    away: tuple[int, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it answered, or its lease lasts."""
        return bool(self.answers) or (self.lease_left is not None and self.lease_left > timedelta())

    @property
    def is_quiet(self) -> bool:
        """Whether it answered that it consumes none of our queues."""
        return self.queues is not None and not self.queues

    @property
    def is_odd(self) -> bool:
        """Whether most workers are of another release, or have other settings."""
        return self.is_other_version or bool(self.differences)

    @property
    def problem(self) -> str:
        """What is wrong with it, in a few words; '' if nothing is."""
        if not self.is_alive:
            return "its lease has ended: another worker returns what it holds"
        if self.answers is False:
            return "it holds a lease and answers no remote control: it hangs, or is ending"
        if self.same_name > 1:
            return f"{self.same_name} workers have this name: what is said to it reaches all of them"
        return ""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "name": self.name,
            "process": self.process or None,
            "alive": self.is_alive,
            "answers": self.answers,
            "same_name": self.same_name,
            "version": self.version or None,
            "other_version": self.is_other_version,
            "differences": [each._asdict() for each in self.differences],
            "holds": self.holds,
            "in_flight_since": None if self.since is None else self.since.isoformat(),
            "without_end_seconds": _seconds(self.without_end),
            "lease_left_seconds": _seconds(self.lease_left),
            "places": self.places,
            "busy": self.busy,
            "uptime_seconds": _seconds(self.uptime),
            "queues": None if self.queues is None else list(self.queues),
            "quiet": self.is_quiet,
            "partitions_away": list(self.away),
            "problem": self.problem or None,
        }


def leases_of(partitions: Partitions) -> HeldLeases:
    """Return the leases, and since when what each holds is in flight.

    Raises:
        redis.RedisError: No partition can be asked.
    """
    numbers = {id(client): number for number, client in enumerate(partitions)}
    answers = partitions.ask(lambda client: _leases(client, numbers[id(client)]), within=partitions.patience)
    if not answers.of:
        answers.all(count=len(partitions))
    return HeldLeases(
        leases=tuple(lease for leases in answers.of.values() for lease in leases),
        asked=tuple(sorted(answers.of)),
        unavailable=tuple(sorted(answers.errors)),
    )


def _leases(client: redis.Redis, number: int) -> list[_Lease]:
    keys = broker_keys(client)
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(keys.leases, 0, -1, withscores=True)
        (seconds, microseconds), leases = pipe.execute()
        for name, _ in leases:
            held = keys.held_prefix.encode() + name
            pipe.scard(held)
            pipe.srandmember(held, _LOOKED_AT)
        answers: list[Any] = pipe.execute() if leases else []
        now, found = seconds * 1000 + microseconds / 1000, []
        for (name, until), holds, tags in zip(leases, answers[::2], answers[1::2], strict=True):
            moments = client.zmscore(keys.index, tags) if tags else []
            since = min((moment for moment in moments if moment is not None), default=None)
            left = timedelta(milliseconds=until - now)
            holder = LeaseHolder(name=text_of(name), holds=int(holds), lease_left=left)
            found.append(_Lease(partition=number, holder=holder, since=_moment(since)))
    return found


def view_of_workers(held: HeldLeases, fleet: Fleet | None) -> list[WorkerView]:
    """Return all workers, those with something wrong first.

    Args:
        held: Their leases.
        fleet: What they answered; None if they were not asked yet.
    """
    by_process: dict[tuple[str, str, bool], list[_Lease]] = {}
    for lease in held.leases:
        holder = lease.holder
        by_process.setdefault((holder.node, holder.process, holder.is_alive), []).append(lease)
    told = {} if fleet is None else fleet.stats
    found = [_worker(leases, held, fleet) for leases in by_process.values()]
    leased = {worker.name for worker in found if worker.is_alive}
    found += [_answered(WorkerView(name=name), fleet) for name in told if name not in leased]
    return sorted(found, key=lambda worker: (not worker.problem, not worker.is_odd, worker.name, worker.process))


def _worker(leases: Sequence[_Lease], held: HeldLeases, fleet: Fleet | None) -> WorkerView:
    holder, is_alive = leases[0].holder, leases[0].holder.is_alive
    there = {lease.partition for lease in leases}
    worker = WorkerView(
        name=holder.node or holder.process,
        process=holder.process.rpartition(":")[0],
        holds=sum(lease.holder.holds for lease in leases),
        since=min((lease.since for lease in leases if lease.since is not None), default=None),
        lease_left=(min if is_alive else max)(lease.holder.lease_left for lease in leases),
        away=tuple(number for number in held.asked if number not in there) if is_alive else (),
    )
    return _answered(worker, fleet) if is_alive else worker


def _answered(worker: WorkerView, fleet: Fleet | None) -> WorkerView:
    """Add what a worker answered."""
    if fleet is None:
        return worker
    stats = fleet.stats.get(worker.name)
    if stats is None:
        return replace(worker, answers=False)
    about, pool = _table(stats.get(ABOUT)), _table(stats.get("pool"))
    most_version, most = _most_common([_table(one.get(ABOUT)) for one in fleet.stats.values()])
    in_flight = _table(about.get(IN_FLIGHT))
    version = str(about.get("version", ""))
    return replace(
        worker,
        answers=True,
        same_name=fleet.same_name.get(worker.name, 1),
        version=version,
        is_other_version=version != most_version,
        differences=tuple(_differences(_table(about.get("settings")), most)),
        holds=worker.holds if worker.process else int(in_flight.get("messages", 0)),
        without_end=_span(in_flight.get("without_end")) if worker.holds else None,
        places=_whole(pool.get("max-concurrency")),
        busy=_whole(pool.get("deliveries")),
        uptime=_span(stats.get("uptime")),
        queues=tuple(name for name in OUR_QUEUES if name in fleet.queues.get(worker.name, ())),
    )


def _most_common(told: Collection[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the release, and the value of each setting, that most workers have."""
    versions = Counter(str(about.get("version", "")) for about in told if about)
    values: dict[str, Counter[str]] = {}
    for about in told:
        for name, value in _table(about.get("settings")).items():
            values.setdefault(name, Counter())[_shown(value)] += 1
    most = {name: counter.most_common(1)[0][0] for name, counter in values.items()}
    return (versions.most_common(1)[0][0] if versions else ""), most


def _differences(settings: Mapping[str, Any], most: Mapping[str, str]) -> list[Difference]:
    shown = {name: _shown(value) for name, value in settings.items()}
    return [Difference(name, shown[name], most[name]) for name in sorted(shown) if shown[name] != most[name]]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _span(value: object) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _seconds(value: timedelta | None) -> float | None:
    return None if value is None else round(value.total_seconds(), 3)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
