"""LPUSH of ready-made messages by redis-py, of the bytes that the producer would send."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from benchmarks.events import events as some_events
from benchmarks.sender import Sender
from producer import FeedbackEvent
from producer.message import to_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.events import Fields

__all__ = ["Pipelined", "Variadic"]

_QUEUE = "feedback"


class Pipelined(Sender):
    """One command for each event; many in one round trip if there are many."""

    def __init__(self, url: str, *, threads: int) -> None:
        self._client = redis.Redis.from_url(url, max_connections=max(threads, 10))
        self._message = to_message(FeedbackEvent.from_wire(next(some_events(1))))

    def send(self, event: Fields) -> None:
        del event
        self._client.lpush(_QUEUE, self._message)

    def send_many(self, events: Sequence[Fields]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for _ in events:
                pipeline.lpush(_QUEUE, self._message)
            pipeline.execute()


class Variadic(Pipelined):
    """One command for many events."""

    def send_many(self, events: Sequence[Fields]) -> None:
        self._client.lpush(_QUEUE, *[self._message] * len(events))
