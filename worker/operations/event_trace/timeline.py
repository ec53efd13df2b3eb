"""The story of one answer's feedback: what is to be said first, and all of it in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, assert_never

from worker.accounting.message_search import FoundMessage, Whereabouts
from worker.database.models import State
from worker.operations.attempts import attempts_of, milliseconds_of, then_of
from worker.operations.text import utc
from worker.policy.durations import span
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from worker.delivery.hold import HoldState
    from worker.delivery.remembered import Remembered
    from worker.operations.event_trace.found import EventTrace, OutboxEntry, TracedRow
    from worker.policy.attempt import Attempt

__all__ = ["Moment", "attempts_in", "statements", "story_record", "timeline"]

_WAITS: Final = {
    WaitReason.RETRY: "AquilaX could not take it",
    WaitReason.REDIS: "Redis failed under it",
    WaitReason.DATABASE: "the dead-letter database failed under it",
    WaitReason.BUSY: "another press on the same answer was being sent",
    WaitReason.HOLD: "its org is held, or its org's key",
    WaitReason.LIMIT: "its org has as many requests at once as it may",
    WaitReason.FAULT: "a fault of ours, which stands in the workers' log",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment of the story.

    Attributes:
        at: When.
        text: What happened then, or will.
        row: The dead letter that it is about, if it is about one.
        replay: The replay, likewise.
        is_about: Whether the time is known roughly.
    """

    at: datetime
    text: str
    row: int | None = None
    replay: int | None = None
    is_about: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "at": self.at.isoformat(),
            "about": self.is_about,
            "text": self.text,
            "dead_letter": self.row,
            "replay": self.replay,
        }


def statements(trace: EventTrace) -> list[str]:
    """Return what became of the press, or of each if there were several: a sentence each, the latest state first."""
    said = [_message(message, trace) for message in (trace.search.found if trace.search else ())]
    said += [_spooled(one.spooled_at) for one in trace.spooled or ()]
    said += [_outbox(one) for one in trace.outbox or ()]
    said += [_row(traced) for traced in reversed(trace.rows or ())]
    if trace.remembered is not None:
        said += _remembered(trace.remembered, has_message=bool(trace.search and trace.search.found))
    return said or [_unknown(trace)]


def timeline(trace: EventTrace) -> list[Moment]:
    """Return all moments that are known, the first one first; those to come are at the end."""
    moments = dict.fromkeys(  # of what happened at the same time, in the order in which it comes here; each once
        moment
        for part in (
            *(_of_message(message) for message in (trace.search.found if trace.search else ())),
            *(_of_row(traced) for traced in trace.rows or ()),
            *(
                _of_spooled(one.event.occurred_at, one.spooled_at, status=one.event.status)
                for one in trace.spooled or ()
            ),
            *(_of_outbox(one) for one in trace.outbox or ()),
            _of_remembered(trace),
        )
        for moment in part
    )
    return sorted(moments, key=lambda moment: moment.at)


def attempts_in(trace: EventTrace) -> list[Attempt]:
    """Return the requests that were sent for the answer and are known, the first one first."""
    known = {
        attempt
        for message in (trace.search.found if trace.search else ())
        for attempt in (message.envelope.history if message.envelope else ())
    }
    known |= {attempt for traced in trace.rows or () for attempt in attempts_of(traced.row)}
    return sorted(known, key=lambda attempt: attempt.at)


def story_record(trace: EventTrace) -> dict[str, Any]:
    """Return all that was found, what is to be said of it and the timeline, as JSON can carry it."""
    return trace.to_record() | {
        "summary": statements(trace),
        "timeline": [moment.to_record() for moment in timeline(trace)],
    }


def _message(message: FoundMessage, trace: EventTrace) -> str:
    tried = message.envelope is not None and message.envelope.attempts
    after = f" after {tried} attempt{'s' if tried != 1 else ''}" if tried else ""
    replayed = message.envelope is not None and message.envelope.dead_letter is not None
    what = (
        f"{_vote(message.arguments.get('status'))}, replayed," if replayed else _vote(message.arguments.get("status"))
    )
    match message.where:
        case Whereabouts.QUEUED:
            ahead = message.ahead or 0
            queued = (
                f"{what} is queued{after}: {ahead:,} are handed out before it" if ahead else f"{what} is queued{after}"
            )
            return f"{queued}.{_held(trace.hold)}"
        case Whereabouts.SCHEDULED if message.set_aside is not None:
            hold = trace.org_holds.get(message.set_aside)
            if hold is None:
                return f"{what} was set aside{after}, and its hold has ended: it goes back to the queue."
            return f"{what} is set aside{after}: nothing of {hold.shown} is sent: {hold.state.comment}."
        case Whereabouts.SCHEDULED:
            if message.waits is WaitReason.HOLD:
                return f"{what} is set aside{after}: {_WAITS[WaitReason.HOLD]}."
            due = "" if message.due is None else f" until {utc(message.due)}"
            why = _WAITS[message.waits] if message.waits else "its client set that time"
            last = message.envelope.history[-1] if message.envelope and message.envelope.history else None
            response = f" ({last.summary})" if last is not None and message.waits is WaitReason.RETRY else ""
            return f"{what} waits{due}{after}: {why}{response}."
        case Whereabouts.IN_FLIGHT:
            holder = (
                f" with {message.holder}" if message.holder else ", and no worker owns it: it comes back to the queue"
            )
            return f"{what} is in flight{holder}{after}: it is being sent, or is about to be.{_held(trace.hold)}"
        case _:
            assert_never(message.where)


def _held(hold: HoldState | None) -> str:
    return "" if hold is None else f" Everything is held: {hold.comment}."


def _spooled(at: datetime) -> str:
    return f"It is in the spool of this machine since {utc(at)}: it is enqueued when Redis takes it."


def _outbox(entry: OutboxEntry) -> str:
    if entry.problem:
        return f"It is in the outbox, set aside: {entry.problem}."
    return f"It is in the outbox since {_readable(entry.created_at)}: the relay carries it to Redis."


def _row(traced: TracedRow) -> str:
    row = traced.row
    name = f"Dead letter {row.id} ({_vote(row.status)})"
    match row.state:
        case State.DEAD:
            return f"{name}: it was not delivered. {row.summary}."
        case State.REPLAYING:
            return f"{name} is being sent again. It had died of: {row.summary}."
        case State.DELIVERED:
            return f"{name} was delivered after all{f': {row.comment}' if row.comment else ''}."
        case State.DISCARDED:
            return f"{name} was discarded{f': {row.comment}' if row.comment else ''}. It had died of: {row.summary}."
        case _:
            assert_never(row.state)


def _remembered(found: Remembered, *, has_message: bool) -> Iterator[str]:
    if found.until is not None:
        pressed = "" if found.occurred_at is None else f", pressed at {utc(found.occurred_at)}"
        yield f"Delivered: AquilaX has {_vote(found.status)}{pressed}. That is remembered until {utc(found.until)}."
        if found.unsure:
            yield "Another press was sent since, and it is not known whether AquilaX took it."
    if found.sending_for is not None and not has_message:
        yield f"A worker has claimed this answer, to send for it, for {span(found.sending_for)} at most."


def _unknown(trace: EventTrace) -> str:
    if not trace.is_whole:
        return "Nothing is known of it so far, and not everything could be looked through."
    kept = span(trace.ttl)
    return (
        f"Nothing is known of it: it was never enqueued here, or it was delivered more than {kept} ago, revoked or "
        "purged, or its dead letter was pruned."
    )


def _of_message(message: FoundMessage) -> Iterator[Moment]:
    envelope = message.envelope
    if (pressed := _time(message.arguments.get("occurred_at"))) is not None:
        yield _pressed(pressed, message.arguments.get("status"))
    if envelope is not None:
        replayed = envelope.dead_letter
        text = "enqueued" if replayed is None else f"enqueued again, by a replay of dead letter {replayed}"
        yield Moment(at=envelope.enqueued_at, text=text, row=replayed)
        yield from _attempts(envelope.history)
    if message.since is not None:
        holder = f" to {message.holder}" if message.holder else ""
        yield Moment(at=message.since, text=f"handed out{holder}")
    if message.due is not None:
        yield Moment(at=message.due, text="to be handed out again")


def _of_row(traced: TracedRow) -> Iterator[Moment]:
    row = traced.row
    if row.occurred_at is not None:
        yield _pressed(row.occurred_at, row.status)
    yield Moment(at=row.first_enqueued_at, text="enqueued")
    yield from _attempts(attempts_of(row), row=row.id)
    yield Moment(at=row.failed_at, text=f"dead letter: {row.summary}", row=row.id)
    for action in traced.actions:
        comment = f": {action.comment}" if action.comment else ""
        yield Moment(at=action.at, text=f"{action.action} by {action.actor}{comment}", replay=_number(action.target))
    for replay in traced.replays:
        if replay.changed_at is not None:
            comment = f": {replay.comment}" if replay.comment else ""
            text = f"in replay {replay.replay_id}: {replay.state.value}{comment}"
            yield Moment(at=replay.changed_at, text=text, replay=replay.replay_id, row=row.id)
    if row.resolved_at is not None:
        comment = f": {row.comment}" if row.comment else ""
        yield Moment(at=row.resolved_at, text=f"{row.state.value}{comment}", row=row.id)


def _attempts(history: Iterable[Attempt], *, row: int | None = None) -> Iterator[Moment]:
    for attempt in history:
        worker = f" by {attempt.worker}" if attempt.worker else ""
        text = f"sent{worker}: {attempt.summary} after {milliseconds_of(attempt):,} ms; {then_of(attempt)}"
        yield Moment(at=attempt.at, text=text, row=row)


def _of_spooled(pressed: datetime, spooled_at: datetime, *, status: bool) -> Sequence[Moment]:
    return [_pressed(pressed, status), Moment(at=spooled_at, text="spooled on this machine: Redis did not take it")]


def _of_outbox(entry: OutboxEntry) -> Iterator[Moment]:
    if (pressed := _time(entry.occurred_at)) is not None:
        yield _pressed(pressed, entry.status)
    if (written := _time(entry.created_at)) is not None:
        yield Moment(at=written, text="written into the outbox")


def _of_remembered(trace: EventTrace) -> Iterator[Moment]:
    found = trace.remembered
    if found is None or found.until is None:
        return
    if found.occurred_at is not None:
        yield _pressed(found.occurred_at, found.status)
    at = min(found.until - trace.ttl, trace.at)
    yield Moment(
        at=at, text=f"AquilaX has {_vote(found.status)}: delivered, or last confirmed by a repeat", is_about=True
    )
    yield Moment(at=found.until, text="to be forgotten")


def _pressed(at: datetime, status: object) -> Moment:
    return Moment(at=at, text=f"{_vote(status)} pressed")


def _vote(status: object) -> str:
    return {"true": "👍 true", "false": "👎 false"}.get(str(status).lower(), "The press")


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.utcoffset() is not None else None


def _readable(text: str) -> str:
    moment = _time(text)
    return text if moment is None else utc(moment)


def _number(target: str) -> int | None:
    head, _, number = target.partition(" ")
    return int(number) if head == "replay" and number.isdecimal() else None
