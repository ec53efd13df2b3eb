"""What is new at a moment: each condition's beginning and end, each new cause and each stopped replay, once. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from worker.delivery.org_holds import shown_scope
from worker.notifications.conditions import HELD, HELD_BY_KEY, HOLD, LOSS, conditions_of
from worker.notifications.events import Event, EventKind
from worker.notifications.observation import OVERLAP
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime, timedelta

    from worker.dead_letters.new_causes import NewCause
    from worker.dead_letters.replays.stopped import StoppedReplay
    from worker.notifications.conditions import Condition, Conditions
    from worker.notifications.observation import Observation
    from worker.notifications.state import NotifierState

__all__ = ["noted"]

_MOST_PENDING: Final = 200
"""Events that wait for a message; the others are counted."""

_LONGEST_TEXT: Final = 400
"""Characters of an event."""

_URGENT_KINDS: Final = ("hold:locked_out", HELD_BY_KEY, LOSS)


def noted(
    state: NotifierState, seen: Observation, *, backlog_age: timedelta, redact: Callable[[str], str]
) -> NotifierState:
    """Return what is known after an observation, with what is new among the pending events.

    Args:
        state: What was known.
        seen: The observation.
        backlog_age: How old the oldest event must be for the backlog to be told of.
        redact: Takes secrets out of a text.
    """
    is_held = seen.snapshot.hold is not None or bool(seen.org_holds)
    if (_stands(state.standing, HOLD) or _stands(state.standing, HELD)) and not is_held:
        state = replace(state, resumed_at=seen.at)
    conditions = conditions_of(seen, backlog_age=backlog_age, standing=state.standing, resumed_at=state.resumed_at)
    after, events = _followed(state, conditions, seen.at)
    if seen.causes is not None and seen.replays is not None:
        after, more = _found(after, seen.causes, seen.replays, seen.at)
        events += more
    told = tuple(replace(event, text=_line(redact(event.text))) for event in events)
    pending = (*after.pending, *told)
    dropped = max(len(pending) - _MOST_PENDING, 0)
    return replace(after, pending=_most_urgent(pending), dropped=after.dropped + dropped)


def _most_urgent(pending: tuple[Event, ...]) -> tuple[Event, ...]:
    """As many as may wait, in their order: of too many the urgent ones, and then the first ones."""
    kept = sorted(range(len(pending)), key=lambda at: (not pending[at].urgent, at))[:_MOST_PENDING]
    return tuple(pending[at] for at in sorted(kept))


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def _followed(state: NotifierState, now: Conditions, at: datetime) -> tuple[NotifierState, list[Event]]:
    """Return what stands after this look, and what has begun or ended."""
    suspected = {name: state.suspected.get(name, 0) + 1 for name in now.standing if name not in state.standing}
    begun = {name: now.standing[name] for name, looks in suspected.items() if looks >= now.standing[name].looks}
    ended = [name for name in state.standing if name not in now.standing and not now.is_unknown(name)]
    # A Redis that loses more, or gets a part back, is the same loss.
    known = any(name.startswith(LOSS) for name in state.standing)
    fresh = {name: one for name, one in begun.items() if not (known and name.startswith(LOSS))}
    standing = {name: since for name, since in state.standing.items() if name not in ended} | dict.fromkeys(begun, at)
    events = [_begun(name, condition, at) for name, condition in fresh.items()]
    events += [event for name in ended if (event := _ended(name, state, standing, at)) is not None]
    unsure = {name: looks for name, looks in state.suspected.items() if now.is_unknown(name) and name not in suspected}
    return (
        replace(
            state,
            standing=standing,
            suspected=unsure | {name: looks for name, looks in suspected.items() if name not in begun},
        ),
        events,
    )


def _begun(name: str, condition: Condition, at: datetime) -> Event:
    page = "/feedback/audit" if name == f"{HOLD}operator" else "/feedback"
    return Event(
        kind=condition.kind,
        subject=condition.subject,
        at=at,
        text=condition.text,
        urgent=condition.urgent,
        page=page,
    )


def _ended(name: str, state: NotifierState, standing: dict[str, datetime], at: datetime) -> Event | None:
    """What is told of an end. A loss of which another part stands has not ended."""
    lasted, urgent, subject = span(at - state.standing[name]), name.startswith(_URGENT_KINDS), name.partition(":")[2]
    if name.startswith(HOLD):
        goes_on = "; another one stands" if _stands(standing, HOLD) else ": feedback is sent again"
        kind, text = EventKind.HOLD_ENDED, f"the hold has ended after {lasted}{goes_on}"
    elif name.startswith(HELD):
        kind, text = EventKind.HOLD_ENDED, f"the hold of {shown_scope(subject)} has ended after {lasted}"
    elif name.startswith(LOSS):
        if _stands(standing, LOSS):
            return None
        kind, text, subject = EventKind.LOSS_ENDED, f"the books are in order again after {lasted}", ""
    else:
        kind, text = EventKind.BACKLOG_ENDED, f"the backlog has ended after {lasted}"
    return Event(kind=kind, subject=subject, at=at, text=text, urgent=urgent)


def _stands(standing: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in standing)


def _found(
    state: NotifierState, causes: tuple[NewCause, ...], replays: tuple[StoppedReplay, ...], at: datetime
) -> tuple[NotifierState, list[Event]]:
    """Return what is known of causes and replays, and which of them are new.

    At the first look of all nothing is: what died before notifications began is no news.
    """
    new_causes = [cause for cause in causes if cause.fingerprint not in state.causes]
    new_replays = [replay for replay in replays if str(replay.id) not in state.replays]
    horizon = at - OVERLAP * 2
    known_causes = {name: first for name, first in state.causes.items() if first >= horizon}
    known_replays = {name: ended for name, ended in state.replays.items() if ended >= horizon}
    after = replace(
        state,
        known_until=at,
        causes=known_causes | {cause.fingerprint: cause.first_failed_at for cause in new_causes},
        replays=known_replays | {str(replay.id): replay.ended_at for replay in new_replays},
    )
    if state.known_until is None:
        return after, []
    return after, [*_causes(new_causes, at), *_replays(new_replays, at)]


def _causes(causes: list[NewCause], at: datetime) -> Iterator[Event]:
    for cause in causes:
        letters = f"{cause.rows:,} dead letter{'s' if cause.rows != 1 else ''}"
        orgs = f"{cause.orgs:,} org{'s' if cause.orgs != 1 else ''}"
        yield Event(
            kind=EventKind.NEW_CAUSE,
            subject=cause.fingerprint,
            at=at,
            text=f"new cause of dead letters: {cause.summary} ({letters} of {orgs} so far)",
            page=f"/feedback/causes/{cause.fingerprint}",
        )


def _replays(replays: list[StoppedReplay], at: datetime) -> Iterator[Event]:
    for replay in replays:
        yield Event(
            kind=EventKind.REPLAY_STOPPED,
            subject=str(replay.id),
            at=at,
            text=f"replay {replay.id} was stopped by its canary: {replay.stopped_because}",
            page=f"/feedback/replays/{replay.id}",
        )
