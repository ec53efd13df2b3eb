"""Replay: dead letters go back into the queue, and a kill at any moment loses none of them.

Each chunk of rows takes three steps, and each step is committed before the next one:

1. mark: the rows become ``replaying``, under this run's name, with no time of enqueue;
2. enqueue: their events go to Redis in one command, which takes all of them or none;
3. confirm: the rows get their time of enqueue.

A run that is cut short leaves rows that are marked and not confirmed. Whether their events reached Redis is unknown, so
the next run takes these rows again. An event that is enqueued twice so is delivered once: delivery is idempotent.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import ColumnElement, Engine, and_, case, select, update

from producer.errors import BrokerUnavailable, EnqueueUncertain, InvalidEvent
from producer.event import FeedbackEvent
from producer.message import to_message
from worker.deadletters.errors import DeadLetterStoreUnavailable, translated
from worker.deadletters.model import DeadLetter, State
from worker.deadletters.reading import count, stream
from worker.deadletters.selection import Selection, replayable
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Plan", "Publisher", "Replay", "Report", "plan"]

_CHUNK: Final = 100
"""Rows in one step: few enough that a kill leaves little to enqueue twice, enough that Redis is not the limit."""

_TRIES: Final = 3
"""How often a chunk is enqueued before an uncertain answer ends the run."""


class Publisher(Protocol):
    """What puts messages into the queue: `producer.FeedbackProducer`."""

    def enqueue_messages(self, messages: Sequence[bytes], *, events: Sequence[FeedbackEvent] = ()) -> None:
        """Hand messages over, all of them or none.

        Raises:
            BrokerUnavailable: Not sent.
            EnqueueUncertain: They may have been sent.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a replay would do.

    Attributes:
        which: The rows that it would take.
        rows: How many they are.
        invalid: How many more fit, but hold no event that could be replayed.
    """

    which: ColumnElement[bool]
    rows: int
    invalid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a replay has done.

    Attributes:
        enqueued: Rows whose events are in the queue again.
        refused: Rows that make no event, each with the reason; they are left as they are.
        interrupted: Whether it was asked to stop before its end.
        failure: What stopped it before its end, if it was not asked to.
    """

    enqueued: int = 0
    refused: tuple[str, ...] = ()
    interrupted: bool = False
    failure: BrokerUnavailable | EnqueueUncertain | DeadLetterStoreUnavailable | None = None


def plan(engine: Engine, selection: Selection, *, limit: int | None = None) -> Plan:
    """Return what a replay of these rows would do.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    which = replayable(selection)
    invalid = count(engine, and_(which, DeadLetter.reason == Reason.INVALID))
    rows = count(engine, which) - invalid
    return Plan(
        which=and_(which, DeadLetter.reason != Reason.INVALID),
        rows=rows if limit is None else min(rows, limit),
        invalid=invalid,
    )


class Replay:
    """One run of a replay.

    Args:
        engine: The database.
        publisher: What puts messages into the queue.
        rate: Events per second at most; as fast as it goes if None.
        stop: Set it to end the run after the chunk at hand.
        now: The time.
    """

    def __init__(
        self,
        engine: Engine,
        publisher: Publisher,
        *,
        rate: float | None = None,
        stop: Event | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._rate = math.inf if rate is None else rate
        self._stop = stop or Event()
        self._now = now
        self._run = uuid.uuid4().hex

    def run(
        self, which: ColumnElement[bool], *, limit: int | None = None, progress: Callable[[int], None] = lambda _: None
    ) -> Report:
        """Replay rows, oldest first.

        Args:
            which: The rows, as `plan` has them. Rows that are buried meanwhile are left for the next run.
            limit: How many at most.
            progress: Called with the number of events enqueued after each chunk.

        Returns:
            What was done. A database or broker that goes away ends the run, and is its ``failure``.
        """
        report, seen, started = Report(), 0, time.monotonic()
        try:
            for rows in stream(self._engine, which, limit=limit, page=self._page()):
                if self._stop.wait(max(0.0, started + seen / self._rate - time.monotonic())):
                    return replace(report, interrupted=True)
                seen += len(rows)
                events, refused = _events(rows)
                report = replace(report, refused=(*report.refused, *refused))
                report = replace(report, enqueued=report.enqueued + self._replay(which, rows, events))
                progress(report.enqueued)
        except (BrokerUnavailable, EnqueueUncertain, DeadLetterStoreUnavailable) as error:
            return replace(report, failure=error)
        return report

    def _page(self) -> int:
        """At most a tenth of a second's worth, so that a rate is kept evenly from the start."""
        return int(max(1, min(_CHUNK, self._rate / 10)))

    def _replay(self, which: ColumnElement[bool], rows: list[DeadLetter], events: dict[int, FeedbackEvent]) -> int:
        marked = self._mark(which, list(events))
        if not marked:
            return 0
        try:
            self._enqueue({row_id: events[row_id] for row_id in marked})
        except BrokerUnavailable:
            self._unmark(rows)
            raise
        self._change(marked, {"replay_enqueued_at": self._now()})
        return len(marked)

    def _mark(self, which: ColumnElement[bool], ids: list[int]) -> list[int]:
        """Mark the rows that still fit, and return their ids: another run, or an outcome, may have been faster."""
        cut_short = and_(DeadLetter.state == State.REPLAYING, DeadLetter.replay_enqueued_at.is_(None))
        changes = (
            # First, for MySQL lets each assignment see those before it. Taking up what was cut short is no new replay.
            (DeadLetter.replay_count, DeadLetter.replay_count + case((cut_short, 0), else_=1)),
            (DeadLetter.state, State.REPLAYING),
            (DeadLetter.last_replay_at, self._now()),
            (DeadLetter.replay_run, self._run),
            (DeadLetter.replay_enqueued_at, None),
        )
        with translated(), self._engine.begin() as connection:
            connection.execute(update(DeadLetter).where(which, DeadLetter.id.in_(ids)).ordered_values(*changes))
            mine = select(DeadLetter.id).where(self._is_mine(ids)).order_by(DeadLetter.id)
            return list(connection.scalars(mine))

    def _enqueue(self, events: dict[int, FeedbackEvent]) -> None:
        """A replay is a new journey: an exhausted event would be dead on arrival with its old attempts and age."""
        now = self._now()
        messages = [
            to_message(event, enqueued_at=now, journey={"dead_letter": row_id}) for row_id, event in events.items()
        ]
        for _ in range(_TRIES - 1):
            try:
                return self._publisher.enqueue_messages(messages, events=list(events.values()))
            except EnqueueUncertain:
                continue  # what Redis took twice is delivered once
        return self._publisher.enqueue_messages(messages, events=list(events.values()))

    def _unmark(self, rows: list[DeadLetter]) -> None:
        """Give rows their state back. One that was marked before stays so: its event may be in the queue."""
        for state in (State.DEAD, State.DISCARDED):
            ids = [row.id for row in rows if row.state is state]
            self._change(ids, {"state": state, "replay_count": DeadLetter.replay_count - 1})

    def _change(self, ids: list[int], values: dict[str, Any]) -> None:
        """Change the rows that this run holds; one whose outcome has come already is left alone."""
        with translated(), self._engine.begin() as connection:
            connection.execute(update(DeadLetter).where(self._is_mine(ids)).values(values))

    def _is_mine(self, ids: list[int]) -> ColumnElement[bool]:
        return and_(DeadLetter.id.in_(ids), DeadLetter.replay_run == self._run, DeadLetter.state == State.REPLAYING)


def _events(rows: list[DeadLetter]) -> tuple[dict[int, FeedbackEvent], list[str]]:
    """The events of rows, and what is wrong with rows that make none: somebody may have edited them by hand."""
    events: dict[int, FeedbackEvent] = {}
    refused: list[str] = []
    for row in rows:
        fields = {
            "request_id": row.request_id,
            "status": row.status,
            "org": row.org,
            "group": row.group,
            "occurred_at": row.occurred_at,
        }
        try:
            events[row.id] = FeedbackEvent.from_wire(fields)
        except InvalidEvent as error:
            refused.append(f"dead letter {row.id}: {error}")
    return events, refused
