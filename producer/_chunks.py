"""Many events, drawn from wherever they come from, in chunks that go to Redis in one command each."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from producer.errors import InvalidEvent, ProducerError
from producer.event import FeedbackEvent

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CHUNK", "Item", "Taken", "async_chunks", "chunks"]

CHUNK: Final = 500
"""Events of one command: one round trip, about half a megabyte, a few milliseconds of Redis's time. It must not exceed
`producer._resp.MOST_MESSAGES`, which is what Lua's unpack can take."""

Item: TypeAlias = FeedbackEvent | Mapping[str, Any]
"""An event, or its fields by name."""


def chunks(items: Iterable[Item]) -> Iterator[list[FeedbackEvent]]:
    """Yield the events in lists of up to 500, drawing no more than the one at hand needs.

    The message of an `InvalidEvent` begins with the item's place, counted from 0; its ``not_taken`` are the events
    before it in its chunk, which is not yielded.
    """
    chunk: list[FeedbackEvent] = []
    before = 0
    try:
        for item in items:
            chunk.append(_event(item))
            if len(chunk) == CHUNK:
                yield chunk
                before += CHUNK
                chunk = []
    except InvalidEvent as error:
        raise _placed(error, before, chunk) from error
    if chunk:
        yield chunk


async def async_chunks(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[list[FeedbackEvent]]:
    """Yield as `chunks` does, also from an asynchronous source."""
    if not isinstance(items, AsyncIterable):
        for chunk in chunks(items):
            yield chunk
        return
    chunk = []
    before = 0
    try:
        async for item in items:
            chunk.append(_event(item))
            if len(chunk) == CHUNK:
                yield chunk
                before += CHUNK
                chunk = []
    except InvalidEvent as error:
        raise _placed(error, before, chunk) from error
    if chunk:
        yield chunk


class Taken:
    """Counts the events that Redis has acknowledged, and tells it to the error that ends its ``with`` block."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ProducerError):
            error.taken += self.count  # to those of the chunk at hand
        elif isinstance(error, Exception):
            error.add_note(f"{self.count} events were taken before")


def _event(item: Item) -> FeedbackEvent:
    return item if isinstance(item, FeedbackEvent) else FeedbackEvent.from_wire(item)


def _placed(error: InvalidEvent, before: int, chunk: list[FeedbackEvent]) -> InvalidEvent:
    message = f"event {before + len(chunk)}: {error}"
    return InvalidEvent(message, field=error.field, not_taken=tuple(chunk))
