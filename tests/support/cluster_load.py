"""Producers that enqueue without a pause while a cluster is hurt: what each call was told, and how long it took."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING

from producer import AsyncFeedbackProducer, FeedbackEvent, FeedbackProducer, ProducerError
from producer.partitions import ON_A_CLUSTER, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ClusterLoad", "an_event_of", "cluster_load"]


def an_event_of(partition: int | None = None) -> FeedbackEvent:
    """An event with a request_id of its own, which lies in this partition; in any if None."""
    while True:
        name = str(uuid.uuid4())
        if partition is None or partition_of(name, ON_A_CLUSTER) == partition:
            return FeedbackEvent(request_id=name, status=True, org="o", group="g")


@dataclass
class ClusterLoad:
    """What became of the calls.

    Attributes:
        calls: Of each its event's partition, its seconds, and its error.
        acknowledged: The request_ids of the events that were acknowledged, by their partitions.
        stop: Ends it.
    """

    calls: list[tuple[int, float, ProducerError | None]] = field(default_factory=list)
    acknowledged: dict[int, list[str]] = field(default_factory=lambda: {n: [] for n in range(ON_A_CLUSTER)})
    stop: Event = field(default_factory=Event)

    def slowest(self, partitions: set[int]) -> float:
        """The seconds of the slowest call for one of these partitions."""
        return max(seconds for partition, seconds, _ in self.calls if partition in partitions)

    def errors(self, partitions: set[int]) -> list[ProducerError]:
        """The errors of calls for these partitions."""
        return [error for partition, _, error in self.calls if partition in partitions and error is not None]

    def note(self, event: FeedbackEvent, began: float, error: ProducerError | None) -> None:
        """Note how a call ended."""
        partition = partition_of(event.request_id, ON_A_CLUSTER)
        if error is None:
            self.acknowledged[partition].append(event.request_id)
        self.calls.append((partition, time.monotonic() - began, error))


@contextmanager
def cluster_load(kind: str, url: str, **options: object) -> Iterator[ClusterLoad]:
    """Enqueue with one producer, of the kind ``threads`` or ``asyncio``, until the block ends.

    Each partition has a caller of its own, so that none waits for another's.
    """
    load = ClusterLoad()
    if kind == "threads":
        with FeedbackProducer(url, **options) as producer:  # type: ignore[arg-type]  # the caller's own
            threads = [Thread(target=_call, args=(producer, load, number)) for number in range(ON_A_CLUSTER)]
            yield from _while_running(threads, load)
    else:
        yield from _while_running([Thread(target=lambda: asyncio.run(_call_in_loop(url, load, options)))], load)


def _while_running(threads: list[Thread], load: ClusterLoad) -> Iterator[ClusterLoad]:
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def _call(producer: FeedbackProducer, load: ClusterLoad, partition: int) -> None:
    while not load.stop.is_set():
        event, began, error = an_event_of(partition), time.monotonic(), None
        try:
            producer.enqueue(event)
        except ProducerError as raised:
            error = raised
        load.note(event, began, error)


async def _call_in_loop(url: str, load: ClusterLoad, options: dict[str, object]) -> None:
    async with AsyncFeedbackProducer(url, **options) as producer:  # type: ignore[arg-type]  # the caller's own
        await asyncio.gather(*(_call_as_task(producer, load, number) for number in range(ON_A_CLUSTER)))


async def _call_as_task(producer: AsyncFeedbackProducer, load: ClusterLoad, partition: int) -> None:
    while not load.stop.is_set():
        event, began, error = an_event_of(partition), time.monotonic(), None
        try:
            await producer.enqueue(event)
        except ProducerError as raised:
            error = raised
        load.note(event, began, error)
