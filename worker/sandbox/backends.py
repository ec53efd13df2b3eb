"""Two chat backends, one of threads and one of asyncio, whose users press; they share a spool."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Final

from producer import AsyncFeedbackProducer, FeedbackProducer
from producer.spool import status_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from producer import FeedbackEvent

__all__ = ["Backends"]

_CHUNK: Final = 50
_SECONDS: Final = 4.0
"""In which all of them press, however many they are."""


@dataclass(kw_only=True)
class Backends:
    """Backends that hand events over, each in a thread of its own.

    Args:
        url: Redis.
        spool: The directory that keeps what Redis does not take.
        events: What is pressed.
        replicas: That must have a press before it counts as accepted.
    """

    url: str
    spool: Path
    events: Sequence[FeedbackEvent]
    replicas: int = 0
    _accepted: list[int] = field(default_factory=list)
    _threads: list[Thread] = field(default_factory=list)

    @property
    def accepted(self) -> int:
        """Events whose call has returned."""
        return sum(self._accepted)

    @property
    def spooled(self) -> int:
        """Events that wait on disk."""
        return status_of(self.spool).events if self.spool.is_dir() else 0  # a backend makes it as it starts

    def start(self) -> None:
        """Let people press."""
        logging.getLogger("producer.spool").setLevel(logging.ERROR)  # the demo says when Redis is stopped
        middle = len(self.events) // 2
        self._threads = [
            Thread(target=self._press, args=(self.events[:middle],), name="sync", daemon=True),
            Thread(target=asyncio.run, args=(self._press_async(self.events[middle:]),), name="asyncio", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all is in Redis."""
        for thread in self._threads:
            thread.join()

    def _press(self, events: Sequence[FeedbackEvent]) -> None:
        """A backend of threads: it enqueues press by press, and now and then a chunk."""
        with FeedbackProducer(self.url, timeout=2, spool=self.spool, replicas=self.replicas) as producer:
            for number, chunk in enumerate(_chunks(events)):
                if number % 2:
                    producer.enqueue_many(chunk)
                else:
                    for event in chunk:
                        producer.enqueue(event)
                self._accepted.append(len(chunk))
                time.sleep(self._pause)
            self._await_sent()

    async def _press_async(self, events: Sequence[FeedbackEvent]) -> None:
        """A backend of coroutines: many people press at once."""
        async with AsyncFeedbackProducer(self.url, timeout=2, spool=self.spool, replicas=self.replicas) as producer:
            for chunk in _chunks(events):
                await asyncio.gather(*(producer.enqueue(event) for event in chunk))
                self._accepted.append(len(chunk))
                await asyncio.sleep(self._pause)
            await asyncio.to_thread(self._await_sent)

    def _await_sent(self) -> None:
        while self.spooled:
            time.sleep(0.1)

    @property
    def _pause(self) -> float:
        return _SECONDS * 2 * _CHUNK / len(self.events)


def _chunks(events: Sequence[FeedbackEvent]) -> Iterator[Sequence[FeedbackEvent]]:
    for start in range(0, len(events), _CHUNK):
        yield events[start : start + _CHUNK]
