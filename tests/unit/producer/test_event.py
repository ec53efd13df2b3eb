"""FeedbackEvent: what it takes, what it refuses at the door, and its form on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import FeedbackEvent, InvalidEvent

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
PRESSED_AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FIELDS = {"request_id": REQUEST_ID, "status": "true", "org": "65dd3e83", "group": "67e86d03"}

names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128).filter(str.strip)
moments = st.datetimes(
    min_value=datetime(1, 1, 3),  # noqa: DTZ001 - hypothesis adds the offset
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001 - likewise
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
events = st.builds(
    FeedbackEvent, request_id=st.uuids(), status=st.booleans(), org=names, group=names, occurred_at=moments
)


@given(events)
def test_an_event_comes_back_from_the_wire_as_it_was(event: FeedbackEvent) -> None:
    """Whatever the door lets in, the codec carries."""
    assert FeedbackEvent.from_wire(event.to_wire()) == event


def test_the_wire_carries_text_only_under_the_names_of_the_task() -> None:
    """The keyword arguments of feedback.deliver are a contract with every other client."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=False, org="o", group="g", occurred_at=PRESSED_AT)

    assert event.to_wire() == {
        "request_id": REQUEST_ID,
        "status": "false",
        "org": "o",
        "group": "g",
        "occurred_at": "2026-01-31T12:00:00+00:00",
    }


@pytest.mark.parametrize("given_id", [REQUEST_ID, REQUEST_ID.upper(), UUID(REQUEST_ID)])
def test_one_request_has_one_spelling(given_id: Any) -> None:
    """Delivery is keyed on the request_id, so its text is the same however it was given."""
    event = FeedbackEvent.from_wire({**FIELDS, "request_id": given_id})

    assert event.request_id == REQUEST_ID


@pytest.mark.parametrize(("word", "status"), [(True, True), ("true", True), (False, False), ("false", False)])
def test_a_thumb_is_a_bool_or_its_word(word: bool | str, status: bool) -> None:
    """The API's own words are true and false."""
    assert FeedbackEvent.from_wire({**FIELDS, "status": word}).status is status


def test_a_press_happened_now_unless_the_caller_knows_better() -> None:
    """The moment decides which of two words is the later one, so it is never left empty."""
    before = datetime.now(UTC)

    event = FeedbackEvent.from_wire(FIELDS)

    assert before <= event.occurred_at <= datetime.now(UTC)


@pytest.mark.parametrize("absent", [{}, {"occurred_at": None}])
def test_the_reader_may_stand_in_for_a_moment_that_the_sender_left_out(absent: dict[str, Any]) -> None:
    """A foreign client need not send occurred_at; the worker knows when the message came."""
    event = FeedbackEvent.from_wire({**FIELDS, **absent}, default_occurred_at=PRESSED_AT)

    assert event.occurred_at == PRESSED_AT


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 31, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "2026-01-31T17:30:00+05:30",
        "2026-01-31T12:00:00Z",
    ],
)
def test_moments_are_kept_in_utc(moment: datetime | str) -> None:
    """Offsets differ between machines; the order of two words must not depend on them."""
    event = FeedbackEvent.from_wire({**FIELDS, "occurred_at": moment})

    assert event.occurred_at == PRESSED_AT
    assert event.occurred_at.tzinfo is UTC


class _Org(StrEnum):
    ACME = "65dd3e835a669e3347654200"


def test_a_name_of_a_subclass_of_text_becomes_plain_text() -> None:
    """Members of a StrEnum have a repr of their own, which must not reach the message."""
    event = FeedbackEvent.from_wire({**FIELDS, "org": _Org.ACME})

    assert type(event.org) is str
    assert event.org == "65dd3e835a669e3347654200"


class _NoOffset(tzinfo):
    """A zone that does not know its offset, which Python takes for a naive moment."""

    def utcoffset(self, moment: datetime | None) -> None:
        """No offset."""

    def dst(self, moment: datetime | None) -> None:
        """No daylight saving."""

    def tzname(self, moment: datetime | None) -> None:
        """No name."""


REFUSED: list[tuple[str, object]] = [
    ("request_id", None),
    ("request_id", ""),
    ("request_id", "77e81bbc3e7f47b987fa681b5d2f54e6"),
    ("request_id", "{77e81bbc-3e7f-47b9-87fa-681b5d2f54e6}"),
    ("request_id", f"{REQUEST_ID}\n"),
    ("request_id", "urn:uuid:77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"),
    ("request_id", "../../../scan/77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"),
    ("request_id", REQUEST_ID.encode()),
    ("request_id", 7),
    ("status", None),
    ("status", "True"),
    ("status", "yes"),
    ("status", ""),
    ("status", 1),
    ("status", 0.0),
    ("status", []),
    *[
        (name, value)
        for name in ("org", "group")
        for value in (None, "", "   ", "x" * 129, "a\nb", "a\x00", "\x7f", "\x85", "\ud800", b"acme", 5)
    ],
    ("occurred_at", "yesterday"),
    ("occurred_at", "2026-01-31"),
    ("occurred_at", "2026-01-31T12:00:00"),
    ("occurred_at", datetime(2026, 1, 31)),  # noqa: DTZ001 - the point
    ("occurred_at", datetime(2026, 1, 31, tzinfo=_NoOffset())),
    ("occurred_at", "0001-01-01T00:00:00+14:00"),
    ("occurred_at", "9999-12-31T23:59:59-14:00"),
    ("occurred_at", 1_769_860_800),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_what_cannot_be_carried_is_refused_at_the_door_by_its_name(field: str, value: object) -> None:
    """The caller learns which field, and what would have done."""
    with pytest.raises(InvalidEvent) as refusal:
        FeedbackEvent.from_wire({**FIELDS, field: value})

    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field} is ")
    assert ": expected " in str(refusal.value)


def test_a_refusal_is_a_value_error_too() -> None:
    """Web frameworks answer a ValueError of a validator with 422."""
    with pytest.raises(ValueError, match="status is 'maybe'"):
        FeedbackEvent.from_wire({**FIELDS, "status": "maybe"})


def test_a_refusal_shows_the_beginning_of_a_long_value_only() -> None:
    """A log line must not grow with what a client posts."""
    with pytest.raises(InvalidEvent) as refusal:
        FeedbackEvent.from_wire({**FIELDS, "org": "x" * 1_000_000})

    assert "text of 1000000 characters beginning 'xxx" in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize("field", ["request_id", "status", "org", "group"])
def test_a_missing_field_is_named(field: str) -> None:
    """Only occurred_at may be left out."""
    wire = {name: value for name, value in FIELDS.items() if name != field}

    with pytest.raises(InvalidEvent, match=rf"^{field} is missing: expected") as refusal:
        FeedbackEvent.from_wire(wire)

    assert refusal.value.field == field


def test_an_unknown_field_is_named() -> None:
    """A misspelt occurred_at would otherwise be lost without a word."""
    with pytest.raises(InvalidEvent, match="'ocurred_at' is no field of an event"):
        FeedbackEvent.from_wire({**FIELDS, "ocurred_at": "2026-01-31T12:00:00+00:00"})


@pytest.mark.parametrize("wire", [None, [], "text", 7])
def test_what_is_no_mapping_is_no_event(wire: Any) -> None:
    """Poison in the queue must be told from an event by one kind of error."""
    with pytest.raises(InvalidEvent, match=r"^event is "):
        FeedbackEvent.from_wire(wire)


@given(st.dictionaries(st.text() | st.integers(), st.none() | st.booleans() | st.integers() | st.text() | st.binary()))
def test_no_mapping_breaks_the_door(wire: dict[Any, Any]) -> None:
    """Whatever comes, it is an event or an InvalidEvent: nothing else escapes."""
    with pytest.raises(InvalidEvent):
        FeedbackEvent.from_wire({**wire, "request_id": "never a UUID"})


def test_an_event_cannot_be_changed() -> None:
    """It is shared between threads and kept in errors."""
    event = FeedbackEvent.from_wire(FIELDS)

    with pytest.raises(AttributeError):
        event.status = False  # type: ignore[misc] # the point
