"""The header that travels with an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.policy.attempt import Attempt
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.result import ResultKind
from worker.policy.retry import Reason, SendToDeadLetters

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=3)

past = st.datetimes(max_value=NOW.replace(tzinfo=None), timezones=st.just(UTC))
text = st.text(st.characters(codec="utf-8"))
counts = st.integers(min_value=0, max_value=2**31 - 1)
records = st.builds(SendToDeadLetters, reason=st.sampled_from(Reason), http_status=st.none() | counts, response=text)
attempts = st.builds(
    Attempt,
    at=past,
    worker=st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=64),
    status=st.none() | st.integers(min_value=100, max_value=599),
    latency=st.integers(min_value=0, max_value=10**6).map(lambda ms: timedelta(milliseconds=ms)),
    text=st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=200),
    then=st.sampled_from(ResultKind),
)
envelopes = st.builds(
    Envelope,
    enqueued_at=past,
    message_id=text,
    attempts=counts,
    snoozes=counts,
    dead_letter=st.none() | st.integers(min_value=0, max_value=2**63 - 1),
    replay=st.none() | st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    delivered=st.booleans(),
    pending_dead_letter=st.none() | records,
    history=st.lists(attempts, max_size=10).map(tuple),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2026-01-31T12:00:00+00:00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
fields = [
    "enqueued_at",
    "message_id",
    "attempts",
    "snoozes",
    "dead_letter",
    "replay",
    "delivered",
    "pending_dead_letter",
    "history",
]


def read(header: object) -> Envelope:
    """Read a header, in a message with the tag "this"."""
    return Envelope.from_header(header, message_id="this", received_at=NOW)


@given(envelope=envelopes)
def test_a_journey_comes_back_from_its_header_as_it_was(envelope: Envelope) -> None:
    """Over JSON, which is how it travels."""
    there_and_back = read(json.loads(json.dumps(envelope.to_header())))

    assert there_and_back == envelope
    assert there_and_back.history == envelope.history


def test_a_history_that_is_none_is_no_reason_to_refuse_a_message() -> None:
    """It is for people."""
    assert read({"v": 2, "attempts": 3, "history": ["?", {"at": 7}]}) == Envelope(
        enqueued_at=NOW, message_id="this", attempts=3
    )


def test_a_message_without_the_header_begins_its_journey_now() -> None:
    """Any Celery client may enqueue an event."""
    assert read(None) == Envelope(enqueued_at=NOW, message_id="this")


@pytest.mark.parametrize("version", [1, 2])
def test_the_producers_header_is_enough(version: int) -> None:
    """It says when; the message's own tag is its identity from then on. Messages of version 1 may still be queued."""
    header = {"v": version, "enqueued_at": BEFORE.isoformat()}

    assert read(header) == Envelope(enqueued_at=BEFORE, message_id="this")


def test_what_goes_on_has_been_counted() -> None:
    """Of whichever version it came, it was counted when it was enqueued, or when it was fetched."""
    assert read({"v": 1}).to_header()["v"] == 2


def test_the_first_messages_identity_stays() -> None:
    """A retry has a tag of its own, and is the same event still."""
    assert read({"v": 1, "message_id": "first"}).message_id == "first"


def test_times_are_brought_to_utc() -> None:
    """What prints or stores them later need not think of offsets."""
    east = BEFORE.astimezone(timezone(timedelta(hours=5)))

    assert read({"v": 1, "enqueued_at": east.isoformat()}).enqueued_at.utcoffset() == timedelta(0)


def test_a_first_enqueue_to_come_is_now() -> None:
    """A fast clock elsewhere does not stretch the horizon, and the year 9999 does not overflow it."""
    assert read({"v": 1, "enqueued_at": "9999-12-31T23:59:59+00:00"}).enqueued_at == NOW


def test_an_attempt_is_counted_and_a_wait_is_not() -> None:
    """Waiting is not failing."""
    envelope = Envelope(enqueued_at=BEFORE, message_id="this")

    assert envelope.spent() == Envelope(enqueued_at=BEFORE, message_id="this", attempts=1)
    assert envelope.snoozed().waiting(WaitReason.REDIS).to_header()["waits"] == "redis"
    assert envelope.waiting(WaitReason.RETRY).spent().waits is None
    assert envelope.snoozed() == Envelope(enqueued_at=BEFORE, message_id="this", snoozes=1)


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        "text",
        7,
        [],
        True,
        {"v": 0},
        {"v": 3},
        {"v": "1"},
        {"v": 1, "enqueued_at": "yesterday"},
        {"v": 1, "enqueued_at": "2026-01-31T12:00:00"},
        {"v": 1, "enqueued_at": 1769860800},
        {"v": 1, "enqueued_at": "0001-01-01T00:00:00+14:00"},
        {"v": 1, "enqueued_at": "9999-12-31T23:59:59-14:00"},
        {"v": 1, "message_id": 5},
        {"v": 1, "message_id": None},
        {"v": 1, "message_id": "\ud800"},
        {"v": 1, "attempts": -1},
        {"v": 1, "attempts": 1.5},
        {"v": 1, "attempts": True},
        {"v": 1, "attempts": None},
        {"v": 1, "attempts": 10**400},
        {"v": 1, "snoozes": 2**31},
        {"v": 1, "dead_letter": 2**63},
        {"v": 1, "dead_letter": "7"},
        {"v": 1, "replay": 7},
        {"v": 1, "replay": "\0" * 32},
        {"v": 1, "pending_dead_letter": "rejected"},
        {"v": 1, "pending_dead_letter": {}},
        {"v": 1, "pending_dead_letter": {"reason": "tired"}},
        {"v": 1, "pending_dead_letter": {"reason": []}},
        {"v": 1, "pending_dead_letter": {"reason": "rejected", "http_status": "404"}},
    ],
    ids=str,
)
def test_a_damaged_header_is_a_value_error(damaged: object) -> None:
    """So that the message becomes a dead letter `invalid`, and the worker goes on."""
    with pytest.raises(ValueError, match="the header feedback"):
        read(damaged)


@given(
    header=anything | st.fixed_dictionaries({"v": st.sampled_from([1, 2])}, optional=dict.fromkeys(fields, anything))
)
def test_no_header_raises_anything_else(header: Any) -> None:
    """Whatever stands in it, it is a journey or a ValueError."""
    try:
        envelope = read(header)
    except ValueError:
        return
    assert read(json.loads(json.dumps(envelope.to_header()))) == envelope
