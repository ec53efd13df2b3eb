"""Chunks: the same from any source, and precise about what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from producer import FeedbackEvent, InvalidEvent
from producer._chunks import CHUNK, async_chunks, chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

FIELDS = {"request_id": "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", "status": True, "org": "o", "group": "g"}


async def _lists(source: str, items: Iterable[Any]) -> list[list[FeedbackEvent]]:
    if source == "iterable":
        return list(chunks(items))
    if source == "iterable in a loop":
        return [chunk async for chunk in async_chunks(items)]
    return [chunk async for chunk in async_chunks(_slowly(items))]


async def _slowly(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


each_source = pytest.mark.parametrize("source", ["iterable", "iterable in a loop", "asynchronous iterable"])


@each_source
@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (CHUNK, [CHUNK]), (CHUNK + 1, [CHUNK, 1]), (2 * CHUNK, [CHUNK, CHUNK])]
)
async def test_chunks_are_full_but_for_the_last(source: str, count: int, sizes: list[int]) -> None:
    """None is empty, and none is lost."""
    lists = await _lists(source, [FIELDS] * count)

    assert [len(chunk) for chunk in lists] == sizes


@each_source
async def test_events_and_their_fields_may_be_mixed(source: str) -> None:
    """Each is taken as what it is."""
    event = FeedbackEvent.from_wire(FIELDS)

    ((first, second),) = await _lists(source, [event, event.to_wire()])

    assert first == second == event


@each_source
async def test_an_event_that_its_generator_could_not_make_is_placed_too(source: str) -> None:
    """Whether the generator or the producer validates makes no difference to a search for the bad row."""

    def rows() -> Iterator[FeedbackEvent]:
        for number in range(CHUNK + 3):
            yield FeedbackEvent.from_wire({**FIELDS, "org": "" if number == CHUNK + 2 else "o"})

    with pytest.raises(InvalidEvent, match=r"^event 502: org is ''") as refusal:
        await _lists(source, rows())

    assert refusal.value.field == "org"
    assert len(refusal.value.not_taken) == 2


def test_a_mapping_in_place_of_a_list_of_them_is_refused() -> None:
    """A dict is an iterable of its keys."""
    with pytest.raises(InvalidEvent, match=r"^event 0: event is 'request_id': expected a mapping"):
        list(chunks(FIELDS))  # type: ignore[arg-type] # the point
