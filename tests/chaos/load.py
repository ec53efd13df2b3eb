"""The load: uniquely numbered events, handed over by the producer as a chat backend would, and a list of them."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Self

import redis

from producer import FeedbackEvent, FeedbackProducer, ProducerError
from producer.message import QUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Load", "Numbers", "event_of", "request_id"]

_CHUNK = 50
_PATIENCE = 2.0
"""Seconds that one call may take: a Redis that hangs shall not hold the load up for long."""


class Numbers:
    """Request_ids that tell their number.

    Args:
        prefix: Eight hexadecimal digits that all of them begin with; some that no other run has if empty.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix or f"{random.SystemRandom().getrandbits(32):08x}"
        self._next = 0

    def take(self, count: int) -> Iterator[str]:
        """Yield the next request_ids."""
        for _ in range(count):
            yield request_id(self._prefix, self._next)
            self._next += 1


def request_id(prefix: str, number: int) -> str:
    """The request_id of a number."""
    return f"{prefix}-0000-4000-8000-{number:012x}"


def event_of(request_id: str) -> FeedbackEvent:
    """The event of a request_id: its number says which way the thumb points."""
    return FeedbackEvent(request_id=request_id, status=int(request_id[-1], 16) % 2 == 0, org="org-1", group="group-1")


class Load(threading.Thread):
    """A chat backend that hands events over until Redis has acknowledged each of them.

    What was not taken, or perhaps, is handed over again: that is what the producer's errors ask for.

    Args:
        url: Redis.
        request_ids: Of the events.
        rate: Events per second at the most; no limit if None.
        look_in: Opens a connection for looking how long the queue is.
        backlog: Messages in the queue at the most: more are handed over as workers take them; no limit if None.
        confirm: Called after each chunk: whether what Redis has acknowledged counts. Else it is handed over again.
        options: More arguments of the producer.

    Attributes:
        acknowledged: The request_ids of the events that Redis has acknowledged.
    """

    def __init__(
        self,
        url: str,
        request_ids: Iterator[str],
        *,
        look_in: Callable[[], redis.Redis],
        backlog: int | None = None,
        rate: float | None = None,
        confirm: Callable[[], bool] = lambda: True,
        **options: object,
    ) -> None:
        super().__init__(name="load", daemon=True)
        self.acknowledged: list[str] = []
        self._producer = FeedbackProducer(url, timeout=_PATIENCE, **options)  # type: ignore[arg-type]  # the caller's
        self._request_ids = request_ids
        self._backlog = backlog
        self._pause = _CHUNK / rate if rate else 0.0
        self._look_in = look_in
        self._confirm = confirm
        self._ending = threading.Event()

    def run(self) -> None:
        """Hand all of them over: chunk by chunk, every other chunk event by event."""
        with self._producer as producer, closing(self._look_in()) as client:
            number = 0
            while not self._ending.is_set() and (chunk := list(islice(self._request_ids, _CHUNK))):
                number += 1
                due = time.monotonic() + self._pause
                self._hand_over(producer, chunk, one_by_one=number % 2 == 0)
                while self._is_ahead(client):
                    self._ending.wait(0.05)
                self._ending.wait(max(due - time.monotonic(), 0))

    def end(self) -> None:
        """Hand over no more."""
        self._ending.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.end()
        self.join()

    def _is_ahead(self, client: redis.Redis) -> bool:
        """Whether there is enough in the queue; no, if that can't be said."""
        if self._backlog is None or self._ending.is_set():
            return False
        try:
            return client.llen(QUEUE) >= self._backlog
        except redis.RedisError:
            return False

    def _hand_over(self, producer: FeedbackProducer, chunk: list[str], *, one_by_one: bool) -> None:
        """An event keeps the time it was said at, however often it is handed over."""
        waiting = [event_of(request_id) for request_id in chunk]
        while waiting and not self._ending.is_set():
            taken: list[FeedbackEvent] = []
            try:
                if one_by_one:
                    for event in waiting:
                        producer.enqueue(event)
                        taken.append(event)
                else:
                    producer.enqueue_many(waiting)
                    taken = waiting
            except ProducerError:
                time.sleep(0.1)
            if taken and self._confirm():
                self.acknowledged += [event.request_id for event in taken]
                waiting = waiting[len(taken) :]
