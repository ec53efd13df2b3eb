"""What is known of notifications, as it is in Redis."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from worker.notifications.events import Event, EventKind
from worker.notifications.state import STATE_VERSION, Message, NewerState, NotifierState, ReceiverHealth

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = Event(kind=EventKind.LOSS_FOUND, subject="data", at=NOON, text="Ünïcode ✓", urgent=True, page="/feedback")
FULL = NotifierState(
    standing={"hold:breaker": NOON},
    suspected={"loss:balance:0": 2},
    resumed_at=NOON,
    known_until=NOON,
    causes={"0123456789ab": NOON},
    replays={"7": NOON},
    pending=(EVENT,),
    dropped=3,
    outbox=(Message(id="msg_1", at=NOON, events=(EVENT,), more=2, to=("1:slack",)),),
    receivers={
        "1:slack": ReceiverHealth(
            failures=2, not_before=NOON, problem="no", last_failed="msg_1", taken_at=NOON, given_up=1
        )
    },
)


@pytest.mark.parametrize("state", [FULL, NotifierState()])
def test_it_is_read_as_it_was_written(state: NotifierState) -> None:
    """By the next worker."""
    assert NotifierState.from_json(state.to_json().encode()) == state


def test_another_release_may_add_to_it_and_leave_out() -> None:
    """Fields that are not known are ignored, and those that are missing have their defaults."""
    more = json.loads(FULL.to_json()) | {"later": {"a": 1}}
    bare = {"version": STATE_VERSION}

    assert NotifierState.from_json(json.dumps(more)) == FULL
    assert NotifierState.from_json(json.dumps(bare)) == NotifierState()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "\xff",
        "{}",
        '{"version": 0}',
        '{"version": "1"}',
        '{"version": 1, "standing": {"a": "yesterday"}}',
        '{"version": 1, "pending": [{"kind": "party"}]}',
        '{"version": 1, "outbox": 5}',
        '{"version": 1, "receivers": []}' * 2,
        '{"version": 1, "causes": ["a"]}',
    ],
)
def test_what_no_worker_wrote_is_refused(text: str) -> None:
    """By one error, whatever is wrong with it."""
    with pytest.raises(ValueError, match="what is known of notifications can't be read"):
        NotifierState.from_json(text)


def test_what_a_later_release_wrote_is_left_to_it() -> None:
    """Its workers notify: one of this release must not begin again what they know."""
    with pytest.raises(NewerState, match="workers of a later release notify"):
        NotifierState.from_json(FULL.to_json().replace('"version":1', '"version":2'))
