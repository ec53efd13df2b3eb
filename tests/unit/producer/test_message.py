"""The message: what differs between two of them, and what must not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer import FeedbackEvent
from producer.message import ENVELOPE, ENVELOPE_VERSION, to_message, to_messages

EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6",
    status=True,
    org="65dd3e835a669e3347654200",
    group="67e86d036e9921509f730483",
    occurred_at=datetime(2026, 1, 31, 12, 0, tzinfo=UTC),
)

awkward = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128).filter(str.strip)


def _read(message: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(message)
    return read


def _kwargs(message: bytes) -> dict[str, Any]:
    args, kwargs, _ = json.loads(_read(message)["body"])
    assert args == []
    return dict(kwargs)


@given(awkward, awkward, awkward)
def test_no_text_breaks_out_of_the_message(org: str, group: str, queue: str) -> None:
    """Quotes, backslashes, percent signs and braces stand in names as in any text."""
    event = FeedbackEvent(request_id=EVENT.request_id, status=False, org=org, group=group)

    message = to_message(event, queue=queue)

    read = _read(message)
    assert _kwargs(message) == event.to_wire()
    assert read["properties"]["delivery_info"]["routing_key"] == queue


def test_messages_that_are_made_together_are_those_that_are_made_one_by_one() -> None:
    """But for the tag, by which each is told apart."""
    events = [
        FeedbackEvent(request_id=str(UUID(int=number)), status=bool(number % 2), org=f"o{number % 3}", group="g")
        for number in range(7)
    ]
    options: dict[str, Any] = {"queue": "100%", "enqueued_at": EVENT.occurred_at, "envelope": {"dead_letter": 7}}

    together = [_read(message) for message in to_messages(events, **options)]
    one_by_one = [_read(to_message(event, **options)) for event in events]

    tags = {message["properties"].pop("delivery_tag") for message in together + one_by_one}
    tasks = {message["headers"].pop("id") for message in together + one_by_one}
    assert len(tags) == len(tasks) == 2 * len(events)
    assert together == one_by_one
    assert to_messages([]) == []


def test_each_message_is_a_task_of_its_own() -> None:
    """Two presses on one answer are two tasks: what is revoked, or shown by Flower, is one of them."""
    messages = [to_message(EVENT), *to_messages([EVENT, EVENT])]

    ids = [UUID(_read(message)["headers"]["id"]) for message in messages]

    assert len(set(ids)) == 3
    assert {(task.version, task.variant) for task in ids} == {(4, RFC_4122)}


def test_two_messages_of_one_event_are_told_apart() -> None:
    """The delivery tag is the key under which a broker keeps what is being worked on."""
    tags = {_read(to_message(EVENT))["properties"]["delivery_tag"] for _ in range(1_000)}

    assert len(tags) == 1_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # the child only makes a message
def test_a_forked_child_repeats_no_tag_of_its_parent() -> None:
    """A web server forks after the application is loaded; the state of a generator would be copied."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        with os.fdopen(reading) as pipe:
            tag_of_child = pipe.read()
        os.waitpid(child, 0)
    else:
        os.write(writing, _read(to_message(EVENT))["properties"]["delivery_tag"].encode())
        os._exit(0)

    assert len(tag_of_child) == 16
    assert tag_of_child != _read(to_message(EVENT))["properties"]["delivery_tag"]


def test_the_journey_begins_when_the_event_is_enqueued() -> None:
    """Age and horizon are counted from here."""
    before = datetime.now(UTC)

    envelope = _read(to_message(EVENT))["headers"][ENVELOPE]

    assert envelope["v"] == ENVELOPE_VERSION
    assert before <= datetime.fromisoformat(envelope["enqueued_at"]) <= datetime.now(UTC)


def test_a_replayed_journey_goes_on_where_it_began() -> None:
    """A replay tells the worker which dead letter it is, and how old the event is."""
    first = EVENT.occurred_at + timedelta(seconds=1)

    envelope = _read(to_message(EVENT, enqueued_at=first, envelope={"dead_letter": 7}))["headers"][ENVELOPE]

    assert envelope == {"v": ENVELOPE_VERSION, "enqueued_at": first.isoformat(), "dead_letter": 7}


def test_the_origin_names_the_process() -> None:
    """The source of a flood can be found: the machine and the process."""
    origin = _read(to_message(EVENT))["headers"]["origin"]

    assert origin.startswith(f"gen{os.getpid()}@")


def test_a_message_tells_its_priority() -> None:
    """By it Kombu, and a worker that returns the message, choose its list. Without one, it is the most urgent."""
    assert _read(to_message(EVENT, priority=9))["properties"]["priority"] == 9
    assert "priority" not in _read(to_message(EVENT))["properties"]


def test_a_message_is_small() -> None:
    """A backlog of an hour lies in Redis' memory: 13 messages fit into a node of its list, which is of 8 KiB."""
    hostname = _read(to_message(EVENT))["headers"]["origin"].partition("@")[2]

    assert len(to_message(EVENT)) - len(hostname) < 590
