"""Which pending events become a message now: several within a window are one, and quiet hours keep most back. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from worker.notifications.events import EventKind
from worker.notifications.state import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from worker.notifications.state import NotifierState
    from worker.policy.quiet_hours import QuietHours

__all__ = ["MOST_EVENTS", "grouped"]

MOST_EVENTS: Final = 20
"""Events of one message; the others are counted."""


def grouped(
    state: NotifierState,
    at: datetime,
    *,
    window: timedelta,
    quiet: QuietHours | None,
    receivers: Sequence[str],
    is_muted: Callable[[str, datetime], bool],
    new_id: Callable[[], str],
) -> NotifierState:
    """Return what is known once the events whose time has come are a message.

    The first event waits for the window, and all that are there then go with it. In quiet hours only those that are
    urgent go; what is left is one message at their end.

    Args:
        state: What is known.
        at: Now, by the clock of the events.
        window: How long events are gathered.
        quiet: The hours in which only what is urgent is told.
        receivers: The names of all that are told.
        is_muted: Whether an operator does not want to hear of a cause, by its fingerprint and the time.
        new_id: Makes the message's id.
    """
    is_quiet = quiet is not None and quiet.contain(at)
    ready = [event for event in state.pending if event.urgent or not is_quiet]
    if not ready or at - ready[0].at < window:
        return state
    left = tuple(event for event in state.pending if not event.urgent and is_quiet)
    told = [event for event in ready if event.kind is not EventKind.NEW_CAUSE or not is_muted(event.subject, at)]
    first = sorted(told, key=lambda event: not event.urgent)[:MOST_EVENTS]  # a stable order: otherwise as they came
    dropped = 0 if is_quiet else state.dropped
    if not first and not dropped:
        return replace(state, pending=left)
    message = Message(
        id=new_id(),
        at=at,
        events=tuple(first),
        more=len(told) - len(first) + dropped,
        to=tuple(receivers),
    )
    return replace(state, pending=left, dropped=state.dropped - dropped, outbox=(*state.outbox, message))
