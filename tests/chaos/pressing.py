"""Steady load on every partition: backends whose users press all the while, whatever becomes of single servers.

A person waits for one call. So each partition has pressers of its own, and those of the others go on while one waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from producer import AsyncFeedbackProducer, EnqueueUncertain, FeedbackProducer, ProducerError
from producer.partitions import ON_A_CLUSTER, partition_of
from tests.chaos.load import event_of, request_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from producer import FeedbackEvent

__all__ = ["Call", "Pressing"]

_TIMEOUT: Final = 2.0
_EVERY: Final = 0.2
"""Seconds between two presses of one presser."""

_CHUNK: Final = 32
_CHUNK_EVERY: Final = 0.5
_AGAIN: Final = 0.05


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a producer for one event.

    Attributes:
        partition: Of the event.
        began: When it began, in seconds since 1970.
        took: Seconds until it returned or raised.
    """

    partition: int
    began: float
    took: float


class Pressing:
    """Three backends - of threads, of coroutines, and one that hands over chunks - which press until they are ended.

    What was not taken, or perhaps, is handed over again, until it is.

    Args:
        url: The cluster.
        replicas: That must have a press before it counts as acknowledged.

    Attributes:
        acknowledged: The request_ids of the events that were.
        calls: The calls for single events.
        uncertain: Calls that raised `EnqueueUncertain`.
        refused: Calls that raised another error.
    """

    def __init__(self, url: str, *, replicas: int) -> None:
        self.acknowledged: list[str] = []
        self.calls: list[Call] = []
        self.uncertain = 0
        self.refused = 0
        self._url = url
        self._replicas = replicas
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("threads", self._threaded), ("coroutines", self._looped), ("chunks", self._chunked))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _threaded(self) -> None:
        with FeedbackProducer(self._url, timeout=_TIMEOUT, replicas=self._replicas) as producer:
            pressers = [
                threading.Thread(target=self._press, args=(producer, number), daemon=True)
                for number in range(ON_A_CLUSTER)
            ]
            for presser in pressers:
                presser.start()
            for presser in pressers:
                presser.join()

    def _press(self, producer: FeedbackProducer, partition: int) -> None:
        for event in _events("c0", partition):
            while True:
                began = time.time()
                try:
                    producer.enqueue(event)
                except ProducerError as error:
                    self._failed(partition, began, error)
                    time.sleep(_AGAIN)
                else:
                    self._taken(partition, began, event)
                    break
            if self._ending.wait(_EVERY):
                return

    def _looped(self) -> None:
        asyncio.run(self._press_all())

    async def _press_all(self) -> None:
        async with AsyncFeedbackProducer(self._url, timeout=_TIMEOUT, replicas=self._replicas) as producer:
            await asyncio.gather(*(self._press_async(producer, number) for number in range(ON_A_CLUSTER)))

    async def _press_async(self, producer: AsyncFeedbackProducer, partition: int) -> None:
        for event in _events("ca", partition):
            while True:
                began = time.time()
                try:
                    await producer.enqueue(event)
                except ProducerError as error:
                    self._failed(partition, began, error)
                    await asyncio.sleep(_AGAIN)
                else:
                    self._taken(partition, began, event)
                    break
            await asyncio.sleep(_EVERY)
            if self._ending.is_set():
                return

    def _chunked(self) -> None:
        """A chunk has events of any partition; what of it was not taken is the next chunk."""
        numbers = count()
        with FeedbackProducer(self._url, timeout=_TIMEOUT, replicas=self._replicas) as producer:
            while not self._ending.wait(_CHUNK_EVERY):
                chunk = [event_of(request_id("cc000000", next(numbers))) for _ in range(_CHUNK)]
                while chunk:
                    left: tuple[FeedbackEvent, ...] = ()
                    try:
                        producer.enqueue_many(chunk)
                    except ProducerError as error:
                        self._count(error)
                        left = error.not_taken
                        time.sleep(_AGAIN)
                    names = {event.request_id for event in left}
                    self.acknowledged += [each.request_id for each in chunk if each.request_id not in names]
                    chunk = list(left)

    def _taken(self, partition: int, began: float, event: FeedbackEvent) -> None:
        self.calls.append(Call(partition, began, time.time() - began))
        self.acknowledged.append(event.request_id)

    def _failed(self, partition: int, began: float, error: ProducerError) -> None:
        self.calls.append(Call(partition, began, time.time() - began))
        self._count(error)

    def _count(self, error: ProducerError) -> None:
        if isinstance(error, EnqueueUncertain):
            self.uncertain += 1
        else:
            self.refused += 1


def _events(prefix: str, partition: int) -> Iterator[FeedbackEvent]:
    """Events of one partition, without end."""
    for number in count():
        name = request_id(f"{prefix}{partition:06x}", number)
        if partition_of(name, ON_A_CLUSTER) == partition:
            yield event_of(name)
