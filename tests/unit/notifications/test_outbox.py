"""Messages on their way: every receiver gets each one, is tried again for a day, and keeps no other waiting."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from worker.notifications.events import Event, EventKind
from worker.notifications.outbox import Attempt, backoff, due, kept, settled
from worker.notifications.state import Message, NotifierState, ReceiverHealth

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NAMES = ("1:slack", "2:json")
EVENT = Event(kind=EventKind.NEW_CAUSE, subject="a", at=NOON, text="new")


def a_message(name: str, *, at: datetime = NOON, to: tuple[str, ...] = NAMES) -> Message:
    """A message that no receiver has taken yet."""
    return Message(id=name, at=at, events=(EVENT,), to=to)


def state_with(*messages: Message) -> NotifierState:
    """What is known of two receivers."""
    return kept(NotifierState(outbox=messages), NOON, NAMES)


def names(attempts: list[Attempt]) -> list[tuple[str, str]]:
    """Which receiver is due for which message."""
    return [(attempt.receiver, attempt.message.id) for attempt in attempts]


def test_each_receiver_is_due_for_its_oldest_message() -> None:
    """One at a time: so what one takes arrives in order."""
    state = state_with(a_message("m1", to=("1:slack",)), a_message("m2"))

    assert names(due(state, NOON)) == [("1:slack", "m1"), ("2:json", "m2")]


def test_a_receiver_that_failed_is_tried_again_later_and_the_other_is_not() -> None:
    """It took the message."""
    state = state_with(a_message("m1"))
    first, second = due(state, NOON)

    after = settled(state, [(first, "it responded 500"), (second, "")], NOON)

    assert [message.to for message in after.outbox] == [("1:slack",)]
    assert due(after, NOON + timedelta(seconds=9)) == []
    assert names(due(after, NOON + timedelta(seconds=10))) == [("1:slack", "m1")]
    assert after.receivers == {
        "1:slack": ReceiverHealth(
            failures=1, not_before=NOON + timedelta(seconds=10), problem="it responded 500", last_failed="m1"
        ),
        "2:json": ReceiverHealth(taken_at=NOON),
    }


def test_a_message_that_is_taken_by_all_is_gone_and_a_success_ends_the_failures() -> None:
    """The receiver is well again."""
    state = state_with(a_message("m1", to=("1:slack",)))
    failing = ReceiverHealth(failures=4, not_before=NOON, problem="no connection", last_failed="m1", given_up=2)
    state = replace(state, receivers={"1:slack": failing})
    (attempt,) = due(state, NOON)

    after = settled(state, [(attempt, "")], NOON)

    assert (after.outbox, after.receivers["1:slack"]) == ((), ReceiverHealth(taken_at=NOON, given_up=2))


def test_a_message_that_a_receiver_refuses_keeps_no_other_from_it() -> None:
    """After a failure another one is tried, if there is one."""
    state = state_with(a_message("bad", to=("1:slack",)), a_message("good", to=("1:slack",)))
    (attempt,) = due(state, NOON)

    after = settled(state, [(attempt, "it responded 400")], NOON)

    assert names(due(after, NOON + backoff(1))) == [("1:slack", "good")]


def test_the_waits_double_up_to_a_quarter_of_an_hour() -> None:
    """However often it has failed."""
    waits = [backoff(failures) for failures in (1, 2, 3, 8, 2000)]

    assert [wait.total_seconds() for wait in waits] == [10, 20, 40, 900, 900]
    assert all(first <= second for first, second in pairwise(waits))


def test_what_was_not_taken_for_a_day_is_given_up_and_counted() -> None:
    """By then it is no news; and the fifty that wait at most are the latest."""
    messages = [a_message(f"m{number}", to=("1:slack",)) for number in range(52)]
    old = a_message("old", at=NOON - timedelta(hours=24))

    after = kept(NotifierState(outbox=(old, *messages)), NOON, NAMES)

    assert (len(after.outbox), after.outbox[0].id) == (50, "m2")
    assert {name: health.given_up for name, health in after.receivers.items()} == {"1:slack": 3, "2:json": 1}


def test_a_receiver_that_is_not_in_the_settings_any_more_is_forgotten() -> None:
    """With what was for it alone."""
    state = state_with(a_message("m1", to=("2:json",)), a_message("m2"))

    after = kept(state, NOON, ["1:slack"])

    assert (sorted(after.receivers), [message.id for message in after.outbox]) == (["1:slack"], ["m2"])
    assert after.outbox[0].to == ("1:slack",)
