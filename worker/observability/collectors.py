"""What is read when Prometheus asks, and not counted along the way: the queue in Redis, and this process."""

from __future__ import annotations

import logging
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from worker.clients.redis.partitions import shown_partition
from worker.delivery.hold import HoldKind
from worker.observability.looking import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from worker.accounting.snapshot import PartitionLook, Snapshot
    from worker.broker.lease_state import SharedLeaseState

__all__ = ["OfPool", "OfProcess", "OfQueue"]

log = logging.getLogger(__name__)

_FRESH: Final = 1.0
"""Seconds for which one look at the queue serves, however many ask."""


class OfQueue(Collector):
    """The queue, by one look into Redis; the same for all workers, so that one of them is enough to know it.

    Args:
        look: Takes a snapshot.
        monotonic: What tells how long ago the last look was.
    """

    def __init__(self, look: Callable[[], Snapshot], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._monotonic = monotonic
        self._seen: Snapshot | None = None
        self._seen_at = float("-inf")
        self._one_at_a_time = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. While Redis is unavailable only that is told: old values would be wrong.

        While only some of its partitions are, the others are told one by one, and no sums: they would be too low, and a
        count that falls is taken for one that began again.
        """
        snapshot = self._snapshot()
        yield _gauge("redis_up", "Whether the queue in Redis can be looked at.", snapshot is not None)
        if snapshot is None:
            return
        if snapshot.is_whole:
            yield from _sums(snapshot)
        if not snapshot.parts or snapshot.parts[0].snapshot is not None:
            yield _hold(snapshot)
        if snapshot.parts:
            yield from _by_partition(snapshot.parts)

    def _snapshot(self) -> Snapshot | None:
        with self._one_at_a_time:
            if self._monotonic() - self._seen_at >= _FRESH:
                self._seen = looked_at(self._look, "the queue")
                self._seen_at = self._monotonic()
            return self._seen


def _sums(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("queued_messages", "Messages that wait for a worker.", snapshot.queued)
    yield _gauge("in_flight_messages", "Messages that a worker has in flight.", snapshot.in_flight)
    yield _gauge("scheduled_messages", "Messages that wait for their time.", snapshot.scheduled)
    yield _gauge(
        "oldest_age_seconds", "Since the first enqueue of the oldest event; 0 if there is none.", _age(snapshot)
    )
    yield CounterMetricFamily(
        "aquilax_feedback_accepted", "Messages that were accepted.", value=snapshot.balance.accepted
    )


def _age(snapshot: Snapshot) -> float:
    return (snapshot.at - snapshot.oldest).total_seconds() if snapshot.oldest is not None else 0.0


def _hold(snapshot: Snapshot) -> Metric:
    hold = GaugeMetricFamily("aquilax_feedback_hold", "1 while nothing is sent, by why that is so.", labels=["kind"])
    holds = () if snapshot.hold is None else (snapshot.hold, snapshot.hold.beneath)
    kinds = {hold.kind for hold in holds if hold is not None}
    for kind in HoldKind:
        hold.add_metric([kind.value], float(kind in kinds))
    return hold


_OF_PARTITION: Final[Mapping[str, tuple[str, Callable[[Snapshot], float]]]] = {
    "queued_messages": ("Messages in the partition that wait for a worker.", lambda now: now.queued),
    "in_flight_messages": ("Messages of the partition that a worker has in flight.", lambda now: now.in_flight),
    "scheduled_messages": ("Messages in the partition that wait for their time.", lambda now: now.scheduled),
    "oldest_age_seconds": ("Since the first enqueue of the partition's oldest event; 0 if there is none.", _age),
    "workers": ("Living workers that consume the partition.", lambda now: now.workers),
}


def _by_partition(parts: Sequence[PartitionLook]) -> Iterator[Metric]:
    """Where there are several; of one that can't be asked no more than that."""
    up = _of_partition("up", "Whether the partition can be looked at.")
    for part in parts:
        up.add_metric([shown_partition(part.number)], float(part.snapshot is not None))
    yield up
    for name, (documentation, read) in _OF_PARTITION.items():
        metric = _of_partition(name, documentation)
        for part in parts:
            if part.snapshot is not None:
                metric.add_metric([shown_partition(part.number)], float(read(part.snapshot)))
        yield metric


def _of_partition(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"aquilax_feedback_partition_{name}", documentation, labels=["partition"])


class OfProcess(Collector):
    """What this process knows of itself.

    Args:
        release: The version of the program.
        leases: What its leases share.
    """

    def __init__(self, release: str, leases: SharedLeaseState) -> None:
        self._release = release
        self._leases = leases

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield CounterMetricFamily(
            "aquilax_feedback_leases_lost",
            "Leases of this process that ended before they were renewed: others may have what it held.",
            value=self._leases.lost,
        )
        yield InfoMetricFamily("aquilax_feedback_build", "The release that runs.", value={"version": self._release})


class OfPool(Collector):
    """What the processes of a pool count together, in files of a folder.

    One that begins just now has a file with nothing in it yet, on which prometheus-client fails: it is read again.

    Raises:
        ValueError: It is none.
    """

    def __init__(self, folder: str) -> None:
        self._shared: Any = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]  # prometheus-client leaves it untyped

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, summed over the processes; for once none, if the files can't be read."""
        for _ in range(_TRIES):
            try:
                return list(self._shared.collect())
            except (struct.error, ValueError, OSError) as error:
                log.debug("a process has just begun to count: %r", error)
                time.sleep(_PAUSE)
        return []


_TRIES: Final = 20
_PAUSE: Final = 0.02


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"aquilax_feedback_{name}", documentation, value=float(value))
