"""What goes together into one message, and what quiet hours keep back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from worker.notifications.events import Event, EventKind
from worker.notifications.grouping import grouped
from worker.notifications.state import NotifierState
from worker.policy.quiet_hours import QuietHours

EVENING = datetime(2026, 1, 31, 22, tzinfo=UTC)
MORNING = datetime(2026, 2, 1, 7, tzinfo=UTC)
WINDOW = timedelta(seconds=30)
NIGHT = QuietHours.read("22:00-07:00")


def an_event(subject: str, *, after: int = 0, urgent: bool = False, kind: EventKind = EventKind.NEW_CAUSE) -> Event:
    """So many seconds after the evening has begun."""
    return Event(kind=kind, subject=subject, at=EVENING + timedelta(seconds=after), text=subject, urgent=urgent)


def group(state: NotifierState, at: datetime, **changes: Any) -> NotifierState:
    """Group for two receivers."""
    options: dict[str, Any] = {
        "window": WINDOW,
        "quiet": None,
        "receivers": ["1:slack", "2:json"],
        "is_muted": lambda _fingerprint, _at: False,
        "new_id": lambda: "msg_1",
    }
    return grouped(state, at, **(options | changes))


def subjects(state: NotifierState) -> list[str]:
    """Of the events of the only message."""
    (message,) = state.outbox
    return [event.subject for event in message.events]


def test_events_within_a_window_are_one_message() -> None:
    """The first one waits for the window, and the others go with it."""
    state = NotifierState(pending=(an_event("a"), an_event("b", after=29)))

    early, late = group(state, EVENING + timedelta(seconds=29)), group(state, EVENING + WINDOW)

    assert early == state
    assert (subjects(late), late.pending) == (["a", "b"], ())
    assert (late.outbox[0].to, late.outbox[0].id) == (("1:slack", "2:json"), "msg_1")


def test_quiet_hours_keep_back_what_is_not_urgent() -> None:
    """At their end all of it is one message."""
    state = NotifierState(pending=(an_event("a"), an_event("loss", after=1, urgent=True), an_event("b", after=2)))

    night = group(state, EVENING + timedelta(seconds=31), quiet=NIGHT)
    still = group(night, MORNING - timedelta(seconds=1), quiet=NIGHT)
    morning = group(NotifierState(pending=night.pending), MORNING, quiet=NIGHT)

    assert (subjects(night), [event.subject for event in night.pending]) == (["loss"], ["a", "b"])
    assert still == night
    assert (subjects(morning), morning.pending) == (["a", "b"], ())


def test_an_urgent_event_waits_for_its_own_window_alone() -> None:
    """Not for that of one which quiet hours keep back; and it is told before the others."""
    state = NotifierState(pending=(an_event("a"), an_event("loss", after=25, urgent=True)))

    assert group(state, EVENING + WINDOW, quiet=NIGHT).outbox == ()
    assert subjects(group(state, EVENING + WINDOW)) == ["loss", "a"]


def test_a_cause_that_is_muted_is_not_told() -> None:
    """By the time at which it would be; anything else can't be muted so."""
    asked = []

    def is_muted(fingerprint: str, at: datetime) -> bool:
        asked.append((fingerprint, at))
        return fingerprint == "a"

    at = EVENING + WINDOW
    some = group(
        NotifierState(pending=(an_event("a"), an_event("b"), an_event("a", kind=EventKind.HOLD_BEGUN))),
        at,
        is_muted=is_muted,
    )
    none = group(NotifierState(pending=(an_event("a"),)), at, is_muted=is_muted)

    assert (subjects(some), asked[:2]) == (["b", "a"], [("a", at), ("b", at)])
    assert (none.outbox, none.pending) == ((), ())


def test_of_very_many_events_the_rest_is_counted() -> None:
    """And those that were not even kept."""
    state = NotifierState(pending=tuple(an_event(str(number)) for number in range(30)), dropped=7)

    told = group(state, EVENING + WINDOW)

    assert (len(told.outbox[0].events), told.outbox[0].more, told.dropped, told.pending) == (20, 17, 0, ())
