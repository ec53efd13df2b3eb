"""One face for both producers, so that one conformance suite runs over the two."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from subprocess import run
from typing import TYPE_CHECKING, Any, Self

from producer import AsyncFeedbackProducer, FeedbackEvent, FeedbackProducer, ProducerError
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = ["EVENT", "InALoop", "InThreads", "Outcome", "attempt", "first_enqueue", "produce"]

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

    def ping(self, **options: Any) -> None:
        """Ask whether Redis is there."""
        self._runner.run(self.producer.ping(**options))

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


_FIRST_ENQUEUE = """
import sys
from producer import FeedbackProducer, ProducerError
producer = FeedbackProducer(sys.argv[1], timeout=20, sentinel_master=sys.argv[2] or None)
before = set(sys.modules)
try:
    producer.enqueue("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", True, org="o", group="g")
    print("taken")
except ProducerError:
    print("not taken")
print(sorted(set(sys.modules) - before))
"""


def first_enqueue(url: str, sentinel_master: str = "") -> tuple[bool, str]:
    """Enqueue one event in a new process.

    Returns:
        Whether it was taken, and the list of modules that were imported after the producer was made.
    """
    command = [sys.executable, "-c", _FIRST_ENQUEUE, url, sentinel_master]
    outcome, imported = run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return outcome == "taken", imported
