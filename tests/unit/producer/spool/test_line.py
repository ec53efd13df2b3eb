"""A line of the spool: what is whole is read, and what is torn or damaged is never taken for an event."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import FeedbackEvent
from producer.message import messages_of
from producer.spool.line import Record, contents, line, number_of, parse, sendable

NOW = datetime(2026, 11, 28, 12, 0, 0, 5, tzinfo=UTC)


def record(number: int = 1, org: str = "o") -> Record:
    """A record, different for each number."""
    event = FeedbackEvent(
        request_id=f"77e81bbc-3e7f-47b9-87fa-{number:012d}",
        status=bool(number % 2),
        org=org,
        group="g",
        occurred_at=NOW,
    )
    return Record(event=event, queue="feedback", spooled_at=NOW + timedelta(seconds=number), trace={})


def line_of(kept: Record, number: int) -> bytes:
    """A record as the line of this number."""
    (content,) = contents([kept.event], queue=kept.queue, spooled_at=kept.spooled_at, trace=kept.trace)
    return line(content, number)


LINES = [line_of(record(number), number) for number in range(1, 4)]


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128).filter(str.strip))
def test_a_line_is_read_as_it_was_written(org: str) -> None:
    """With what else travels with the event, and on one line whatever its text."""
    kept = Record(event=record(org=org).event, queue="a queue", spooled_at=NOW, trace={"traceparent": "00-1-2-01"})

    text = line_of(kept, 7)

    assert text.count(b"\n") == 1
    assert parse(text) == (7, kept)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128).filter(str.strip))
def test_a_line_becomes_the_message_of_its_event(org: str) -> None:
    """Without an event being made of it, whatever its text."""
    kept = record(org=org)

    found = sendable(line_of(kept, 7))

    assert found is not None
    parts, (queue, trace) = found
    (message,) = messages_of([parts], queue=queue, trace=trace)
    assert json.loads(json.loads(message)["body"])[1] == kept.event.to_wire()


@pytest.mark.parametrize("at", range(0, len(LINES[0]) - 1, 3))
def test_a_damaged_line_is_no_event(at: int) -> None:
    """One changed bit, wherever it is."""
    text = bytearray(LINES[0])
    text[at] ^= 1

    assert parse(bytes(text)) is None
    assert sendable(bytes(text)) is None


@pytest.mark.parametrize("content", [b"", b"x", b"1 {}", b'1 {"queue":"q"}', b"1 []", b"x {}", b"1 {"])
def test_what_is_checked_but_no_record_is_none(content: bytes) -> None:
    """A file of another program, or of another version."""
    assert sendable(b"%08x %b\n" % (zlib.crc32(content), content)) is None


def test_a_number_is_read_of_a_whole_line_alone() -> None:
    """How many events wait is told by the last whole line; what is torn or damaged has none."""
    (content,) = contents([record().event], queue="feedback", spooled_at=NOW, trace={})
    whole = line(content, 1234).rstrip(b"\n")

    assert number_of(whole) == 1234
    assert {number_of(whole[:-1]), number_of(whole.replace(b"1234", b"1235", 1)), number_of(b"")} == {0}
