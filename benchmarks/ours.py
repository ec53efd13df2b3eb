"""This project's own producers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks.sender import AsyncSender, Sender
from producer import AsyncFeedbackProducer, FeedbackProducer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.events import Fields

__all__ = [
    "REPLICATED_URL", "SPOOL", "AsyncReplicated", "AsyncSpooling", "Asynchronous", "Blocking", "Replicated", "Spooling",
]  # fmt: skip

REPLICATED_URL: Final = "BENCH_REPLICATED_URL"
"""The variable that names a Redis with a replica."""

SPOOL: Final = "BENCH_SPOOL"
"""The variable that names the directory of the spool."""

_BUDGET = 30.0
"""Seconds: here a call that takes long is measured, not given up."""


class Blocking(Sender):
    """`FeedbackProducer`."""

    def __init__(self, url: str, *, threads: int) -> None:
        self._producer = FeedbackProducer(url, timeout=_BUDGET, max_connections=max(threads, 10))

    def send(self, event: Fields) -> None:
        self._producer.enqueue(event["request_id"], event["status"], org=event["org"], group=event["group"])

    def send_many(self, events: Sequence[Fields]) -> None:
        self._producer.enqueue_many(events)


class Asynchronous(AsyncSender):
    """`AsyncFeedbackProducer`."""

    def __init__(self, url: str, *, tasks: int) -> None:
        del tasks  # they share one connection
        self._producer = AsyncFeedbackProducer(url, timeout=_BUDGET)

    async def __aexit__(self, *_: object) -> None:
        await self._producer.aclose()

    async def send(self, event: Fields) -> None:
        await self._producer.enqueue(event["request_id"], event["status"], org=event["org"], group=event["group"])

    async def send_many(self, events: Sequence[Fields]) -> None:
        await self._producer.enqueue_many(events)


class Spooling(Blocking):
    """`FeedbackProducer` with a spool, and its usual budget."""

    def __init__(self, url: str, *, threads: int) -> None:
        self._producer = FeedbackProducer(url, max_connections=max(threads, 10), spool=os.environ[SPOOL])


class AsyncSpooling(Asynchronous):
    """`AsyncFeedbackProducer` with a spool, and its usual budget."""

    def __init__(self, url: str, *, tasks: int) -> None:
        del tasks  # they share one connection
        self._producer = AsyncFeedbackProducer(url, spool=os.environ[SPOOL])


class Replicated(Blocking):
    """`FeedbackProducer` that waits for a replica."""

    def __init__(self, url: str, *, threads: int) -> None:
        del url  # its Redis is the one with a replica
        url, connections = os.environ[REPLICATED_URL], max(threads, 10)
        self._producer = FeedbackProducer(url, timeout=_BUDGET, max_connections=connections, replicas=1)


class AsyncReplicated(Asynchronous):
    """`AsyncFeedbackProducer` that waits for a replica."""

    def __init__(self, url: str, *, tasks: int) -> None:
        del url, tasks
        self._producer = AsyncFeedbackProducer(os.environ[REPLICATED_URL], timeout=_BUDGET, replicas=1)
