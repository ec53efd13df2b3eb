"""A task message as it is received."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import FeedbackEvent
from worker.policy.envelope import Envelope
from worker.policy.message import Message, PoisonMessage, read_message

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=3)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
WORDS = {"request_id": REQUEST_ID, "status": "true", "org": "acme", "group": "chat"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def read(kwargs: dict[str, Any], header: object = None, args: tuple[Any, ...] = ()) -> Message | PoisonMessage:
    """Read a message with the tag "this", now."""
    return read_message(args, kwargs, header, delivery_tag="this", received_at=NOW)


def unreadable(kwargs: dict[str, Any], header: object = None, args: tuple[Any, ...] = ()) -> PoisonMessage:
    """Read a message that must be unreadable."""
    message = read(kwargs, header, args)
    assert isinstance(message, PoisonMessage)
    return message


def test_a_message_is_an_event_on_its_journey() -> None:
    """What the producer sends."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=True, org="acme", group="chat", occurred_at=BEFORE)

    message = read(event.to_wire(), {"v": 1, "enqueued_at": BEFORE.isoformat(), "attempts": 2})

    assert message == Message(
        event=event, envelope=Envelope(enqueued_at=BEFORE, message_id="this", attempts=2), delivery_tag="this"
    )


def test_a_foreign_client_may_leave_out_when_it_occurred() -> None:
    """The first receipt stands in, and the message says that it is no time that the sender gave."""
    message = read(WORDS)

    assert isinstance(message, Message)
    assert message.event.occurred_at == NOW
    assert message.timed is False


def test_the_first_receipt_stays_when_the_message_comes_again() -> None:
    """Otherwise an old word would grow younger with every retry, and win over a later one."""
    first = read_message((), WORDS, None, delivery_tag="this", received_at=BEFORE)

    again = read(WORDS, first.envelope.spent().to_header())

    assert isinstance(again, Message)
    assert again.event.occurred_at == BEFORE
    assert again.timed is False


def test_positional_arguments_are_refused() -> None:
    """Their order is no contract."""
    message = unreadable({}, args=(REQUEST_ID, "true", "acme", "chat"))

    assert "4 positional arguments" in message.problem


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field must not be lost silently."""
    assert "occured_at" in unreadable({**WORDS, "occured_at": BEFORE.isoformat()}).problem


@pytest.mark.parametrize("missing", list(WORDS))
def test_a_missing_field_is_named(missing: str) -> None:
    """The operator who finds it in the table reads what is wrong."""
    assert missing in unreadable({name: value for name, value in WORDS.items() if name != missing}).problem


def test_what_cannot_be_read_is_kept_whole() -> None:
    """Arguments and header, so that nothing that came is lost."""
    message = unreadable({"request_id": "nonsense", "note": "é"}, {"v": 1, "attempts": 3}, args=(1,))

    assert json.loads(message.raw) == {
        "args": [1],
        "kwargs": {"request_id": "nonsense", "note": "é"},
        "header": {"v": 1, "attempts": 3},
    }


def test_a_damaged_header_is_unreadable_and_kept() -> None:
    """How often it was tried is not known, so it is not tried again."""
    message = unreadable(WORDS, {"v": 1, "attempts": "many"})

    assert json.loads(message.raw)["header"] == {"v": 1, "attempts": "many"}
    assert message.envelope == Envelope(enqueued_at=NOW, message_id="this")


def test_an_unreadable_event_keeps_what_is_known_of_its_way() -> None:
    """So that waits for a database that is unavailable grow, and the table says when it was first enqueued."""
    message = unreadable({"request_id": 5}, {"v": 1, "enqueued_at": BEFORE.isoformat(), "snoozes": 4})

    assert message.envelope == Envelope(enqueued_at=BEFORE, message_id="this", snoozes=4)


def test_what_kombu_decodes_to_more_than_json_is_kept_too() -> None:
    """Kombu's JSON knows UUIDs and times; the raw message shows them."""
    assert "77e81bbc" in unreadable({"request_id": UUID(REQUEST_ID)}).raw.decode()


@given(
    args=st.lists(anything, max_size=2),
    kwargs=st.dictionaries(st.sampled_from([*WORDS, "occurred_at", "more"]), anything),
    header=anything,
)
def test_nothing_that_comes_raises(args: list[Any], kwargs: dict[str, Any], header: object) -> None:
    """Celery acknowledges a task that raises: the message would be lost."""
    assert isinstance(read(kwargs, header, tuple(args)), Message | PoisonMessage)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=5), -timedelta(days=9)])
def test_words_are_ordered_by_when_they_occurred(ahead: timedelta) -> None:
    """A press from last week, and one whose clock is a little ahead, count as they say."""
    message = read(
        {**WORDS, "occurred_at": (NOW + ahead).isoformat()}, Envelope(enqueued_at=NOW, message_id="m").to_header()
    )

    assert isinstance(message, Message)
    assert message.vote == message.event


def test_a_press_from_the_future_counts_from_when_it_was_enqueued() -> None:
    """Else one browser with a wrong clock would make every later press on the answer stale, for years."""
    future = {**WORDS, "occurred_at": (NOW + timedelta(days=900)).isoformat()}

    message = read(future, Envelope(enqueued_at=NOW, message_id="m").to_header())

    assert isinstance(message, Message)
    assert message.vote.occurred_at == NOW
    assert message.event.occurred_at == NOW + timedelta(days=900)
