"""What the partitions of a cluster cost beside one server: CPU of the servers, of a worker and of a producer."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.consumers import ours
from benchmarks.draining import await_all, gather
from benchmarks.events import events
from benchmarks.sample import Measurement, Sample
from benchmarks.servers import rig
from benchmarks.usage import usage
from producer import FeedbackProducer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.plan import Plan
    from benchmarks.servers import Rig

__all__ = ["CLUSTER", "cluster"]

_API: Final = 0.02
"""Seconds that the stand-in for AquilaX takes."""

_PRIMARIES: Final = 3
_BATCH: Final = 500
_BUDGET: Final = 30.0
_SETTLED: Final = 0.5
_QUIET: Final = 8.0
_WATCHED: Final = 15.0
_MILLISECONDS: Final = 1000
_MICROSECONDS: Final = 1_000_000
_PARTITIONS: Final = 16
"""Of a cluster by default."""

_ONE: Final = "one Valkey"
_PARTITIONED: Final = f"one Valkey, {_PARTITIONS} partitions"
_CLUSTER: Final = f"a cluster of {_PRIMARIES} primaries"

CLUSTER: Final = Measurement(
    name="cluster",
    title="A cluster beside one server",
    text=f"One Valkey, the same with {_PARTITIONS} partitions, and a Valkey Cluster of {_PRIMARIES} primaries with "
    f"{_PARTITIONS} partitions; nothing is written to disks, and there are no replicas. What the second costs beside "
    "the first is the partitions' price; the rest of the third's is that of several servers on one machine. A worker "
    "of 100 requests empties a queue, with an API that answers after 20 ms; a producer enqueues with one thread. CPU "
    "is that of the process, or of all servers together.",
    more_is_better=False,
    ranked=False,
)


@dataclass(frozen=True, slots=True)
class _Servers:
    """The servers of the queue.

    Attributes:
        url: Of the broker.
        partitions: Of the queue.
        pids: Of its processes.
    """

    url: str
    partitions: int
    pids: list[int]

    @property
    def cpu(self) -> float:
        """Seconds that all of them have used."""
        return usage(self.pids).cpu


def cluster(plan: Plan) -> Iterator[Sample]:
    """Measure one server and a cluster by turns, round by round."""
    for _ in range(plan.rounds):
        for subject in (_ONE, _PARTITIONED, _CLUSTER):
            plan.tell(subject)
            with rig() as servers:
                broker = _start(servers, subject)
                yield _enqueueing(subject, broker, plan.events)
                yield _batches(subject, broker, plan.events)
            with rig() as servers:
                yield _delivering(subject, servers, _start(servers, subject), plan.events)
            with rig() as servers:
                yield _idling(subject, servers, _start(servers, subject))


def _idling(subject: str, servers: Rig, broker: _Servers) -> Sample:
    servers.start_target(_API)
    servers.environment |= {"FEEDBACK_BROKER_URL": broker.url, "FEEDBACK_PARTITIONS": str(broker.partitions)}
    servers.create_database()
    alone = _rate_of(lambda: broker.cpu)
    consumer = ours(1)
    workers = servers.launch(consumer.commands, consumer.environment)
    while "ready" not in workers[0].said():
        time.sleep(_SETTLED)
    time.sleep(_QUIET)  # what a start costs is over
    pids = [worker.process.pid for worker in workers]
    used = usage(pids).cpu
    beside = _rate_of(lambda: broker.cpu)
    return Sample(
        case="an idle worker",
        subject=subject,
        figures={
            "servers' CPU ms/s": beside,
            "without it": alone,
            "its CPU ms/s": (usage(pids).cpu - used) / _WATCHED * _MILLISECONDS,
        },
    )


def _rate_of(cpu: Callable[[], float]) -> float:
    """Milliseconds of CPU in a second."""
    before = cpu()
    time.sleep(_WATCHED)
    return (cpu() - before) / _WATCHED * _MILLISECONDS


def _start(servers: Rig, subject: str) -> _Servers:
    url = servers.start_nodes(_PRIMARIES) if subject == _CLUSTER else servers.start_valkey()
    pids = [part.process.pid for part in servers.parts]
    return _Servers(url=url, partitions=1 if subject == _ONE else _PARTITIONS, pids=pids)


def _producer(broker: _Servers) -> FeedbackProducer:
    return FeedbackProducer(broker.url, timeout=_BUDGET, partitions=broker.partitions)


def _enqueueing(subject: str, broker: _Servers, number: int) -> Sample:
    with closing(_producer(broker)) as producer:
        supply = [(each["request_id"], each["status"], each["org"], each["group"]) for each in events(number)]
        producer.enqueue(*supply[0][:2], org="org", group="group")  # connects
        at_first, cpu, began = broker.cpu, time.process_time(), time.perf_counter()
        for request_id, status, org, group in supply:
            producer.enqueue(request_id, status, org=org, group=group)
        took, used = time.perf_counter() - began, time.process_time() - cpu
    return _sample("enqueue", subject, number, used=used, took=took, servers=broker.cpu - at_first)


def _batches(subject: str, broker: _Servers, number: int) -> Sample:
    with closing(_producer(broker)) as producer:
        supply = list(events(number))
        producer.enqueue_many(supply[:_BATCH])  # connects
        at_first, cpu, began = broker.cpu, time.process_time(), time.perf_counter()
        producer.enqueue_many(supply)
        took, used = time.perf_counter() - began, time.process_time() - cpu
    return _sample(f"enqueue_many of {_BATCH}", subject, number, used=used, took=took, servers=broker.cpu - at_first)


def _sample(case: str, subject: str, number: int, *, used: float, took: float, servers: float) -> Sample:
    return Sample(
        case=case,
        subject=subject,
        figures={
            "CPU µs/event": used / number * _MICROSECONDS,
            "µs/event": took / number * _MICROSECONDS,
            "servers' CPU µs/event": servers / number * _MICROSECONDS,
        },
    )


def _delivering(subject: str, servers: Rig, broker: _Servers, number: int) -> Sample:
    url = servers.start_target(_API)
    servers.environment |= {"FEEDBACK_BROKER_URL": broker.url, "FEEDBACK_PARTITIONS": str(broker.partitions)}
    servers.create_database()
    with closing(_producer(broker)) as producer:
        producer.enqueue_many(events(number))
    servers.ask(f"{url}/close")
    consumer = ours(1)
    workers = servers.launch(consumer.commands, consumer.environment)
    gather(workers, servers, url, consumer.at_once)
    pids = [worker.process.pid for worker in workers]
    worker_before, before, at_gate = usage(pids).cpu, broker.cpu, int(servers.ask(f"{url}/stats")["distinct"])
    servers.ask(f"{url}/open")
    await_all(servers, url, number)
    used = usage(pids).cpu - worker_before
    time.sleep(_API + _SETTLED)
    stats = servers.ask(f"{url}/stats")
    arrived = int(stats["distinct"])
    meanwhile = max(1, arrived - at_gate)
    return Sample(
        case="deliver",
        subject=subject,
        figures={
            "CPU ms/event": used / meanwhile * _MILLISECONDS,
            "servers' CPU ms/event": (broker.cpu - before) / meanwhile * _MILLISECONDS,
            "events/s": meanwhile / (stats["last_at"] - stats["opened_at"]),
        },
        missing=number - arrived,
    )
