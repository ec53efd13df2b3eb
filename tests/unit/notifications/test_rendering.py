"""How a message reads, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from worker.notifications.events import Event, EventKind
from worker.notifications.rendering import rendered
from worker.notifications.state import Message

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def an_event(kind: EventKind = EventKind.NEW_CAUSE, **changes: Any) -> Event:
    """A new cause."""
    fields: dict[str, Any] = {"subject": "0123456789ab", "at": NOON, "text": "new cause", "page": "/feedback/x?a=1"}
    return Event(kind=kind, **(fields | changes))


def a_message(*events: Event, more: int = 0) -> Message:
    """A message of these."""
    return Message(id="msg_1", at=NOON, events=events, more=more, to=("1:slack",))


def test_people_read_a_line_for_each_event_with_its_link() -> None:
    """And how many more there were."""
    shown = rendered(
        a_message(an_event(), an_event(text="another"), more=3), flower_url="https://flower.example.com/root"
    )

    assert shown.title == "AquilaX feedback: new cause (and 4 more)"
    assert shown.body.splitlines() == [
        "2026-01-31 12:00:00 UTC: new cause",
        "https://flower.example.com/root/feedback/x?a=1",
        "2026-01-31 12:00:00 UTC: another",
        "https://flower.example.com/root/feedback/x?a=1",
        "and 3 more",
    ]


def test_without_flower_there_is_no_link() -> None:
    """A path alone leads nowhere."""
    shown = rendered(a_message(an_event()), flower_url=None)

    assert shown.body == "2026-01-31 12:00:00 UTC: new cause"
    assert json.loads(shown.payload)["data"]["events"][0]["url"] is None


def test_programs_read_json() -> None:
    """These names: add, don't rename."""
    payload = json.loads(rendered(a_message(an_event(urgent=True), more=1), flower_url="http://f").payload)

    assert payload == {
        "type": "feedback.attention",
        "timestamp": "2026-01-31T12:00:00+00:00",
        "data": {
            "title": "AquilaX feedback: new cause (and 1 more)",
            "severity": "failure",
            "events": [
                {
                    "kind": "new_cause",
                    "subject": "0123456789ab",
                    "at": "2026-01-31T12:00:00+00:00",
                    "text": "new cause",
                    "urgent": True,
                    "url": "http://f/feedback/x?a=1",
                }
            ],
            "more": 1,
        },
    }


def test_a_title_has_room_for_how_many_more_there_are() -> None:
    """Services cut long ones."""
    title = rendered(a_message(an_event(text="x" * 300), more=1_234_567), flower_url=None).title

    assert (len(title), title[-24:]) == (len("AquilaX feedback: ") + 120, "xxx… (and 1,234,567 more)"[-24:])


@pytest.mark.parametrize(
    ("events", "severity"),
    [
        ([an_event()], "warning"),
        ([an_event(EventKind.HOLD_ENDED, urgent=True)], "success"),
        ([an_event(EventKind.HOLD_ENDED), an_event()], "warning"),
        ([an_event(EventKind.HOLD_ENDED), an_event(EventKind.LOSS_FOUND, urgent=True)], "failure"),
        ([an_event(EventKind.TEST)], "info"),
        ([], "warning"),
    ],
)
def test_the_severity_is_that_of_the_worst(events: list[Event], severity: str) -> None:
    """Services show it as a colour, or as how loud they are."""
    assert rendered(a_message(*events, more=1), flower_url=None).severity == severity
