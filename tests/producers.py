"""One face for both producers, so that one conformance suite runs over the two."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from producer import AsyncFeedbackProducer, FeedbackEvent, FeedbackProducer, ProducerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = ["EVENT", "InALoop", "InThreads", "Outcome", "attempt", "produce"]

EVENT = FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g")


class InThreads(FeedbackProducer):
    """The producer for threads, as it is."""


class InALoop:
    """The producer for event loops, called from outside of one loop that lives as long as it does."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.producer = AsyncFeedbackProducer(url, **options)

    def enqueue(self, *event: Any, **fields: Any) -> FeedbackEvent:
        """Enqueue one event."""
        return self._runner.run(self.producer.enqueue(*event, **fields))

    def enqueue_many(self, events: Iterable[Any], **options: Any) -> int:
        """Enqueue many events."""
        return self._runner.run(self.producer.enqueue_many(events, **options))

    def enqueue_messages(self, messages: Sequence[bytes], **options: Any) -> None:
        """Enqueue ready-made messages."""
        self._runner.run(self.producer.enqueue_messages(messages, **options))

    def close(self) -> None:
        """Close the producer; its loop goes on."""
        self._runner.run(self.producer.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._runner.close()


def produce(kind: str, url: str, **options: Any) -> InThreads | InALoop:
    """Make a producer of the kind ``threads`` or ``asyncio``."""
    return InThreads(url, **options) if kind == "threads" else InALoop(url, **options)


@dataclass(frozen=True)
class Outcome:
    """How one call ended, and after how many seconds."""

    error: ProducerError | None
    seconds: float


def attempt(producer: InThreads | InALoop, **options: Any) -> Outcome:
    """Enqueue one event, and tell how it ended."""
    began = time.monotonic()
    error: ProducerError | None = None
    try:
        producer.enqueue(EVENT, **options)
    except ProducerError as raised:
        error = raised
    return Outcome(error, time.monotonic() - began)
