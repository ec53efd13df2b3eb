"""What puts events into a queue: one class for each subject, all used alike."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.events import Fields

__all__ = ["EVENTS", "REDIS_URL", "AsyncSender", "Sender", "load", "redis_url"]

REDIS_URL: Final = "BENCH_REDIS_URL"
EVENTS: Final = "BENCH_EVENTS"
"""The variables that tell workers where Redis is, and those that have no queue how many events there are."""


class Sender(ABC):
    """Puts events into a queue from threads, which share it.

    Args:
        url: Redis.
        threads: How many there are, for those that have a pool of connections of that size.
    """

    @abstractmethod
    def __init__(self, url: str, *, threads: int) -> None: ...

    @abstractmethod
    def send(self, event: Fields) -> None:
        """Put one event into the queue."""

    def send_many(self, events: Sequence[Fields]) -> None:
        """Put many, in the way that the subject has for that; one by one where it has none."""
        for event in events:
            self.send(event)


class AsyncSender(ABC):
    """Puts events into a queue from coroutines.

    Args:
        url: Redis.
        tasks: How many send at once.
    """

    @abstractmethod
    def __init__(self, url: str, *, tasks: int) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""

    @abstractmethod
    async def send(self, event: Fields) -> None:
        """Put one event into the queue."""

    async def send_many(self, events: Sequence[Fields]) -> None:
        """As `Sender.send_many`."""
        for event in events:
            await self.send(event)


def load(name: str) -> type[Sender | AsyncSender]:
    """Import a sender's class by ``module:Class``: in the process that uses it, and in no other."""
    module, _, member = name.partition(":")
    found: type[Sender | AsyncSender] = getattr(import_module(module), member)
    return found


def redis_url() -> str:
    """Return the Redis that a peer's module, which is imported in a worker, connects to."""
    return os.environ[REDIS_URL]
