"""Which dead letters are meant: the filters of every command, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import ColumnElement, and_, false, or_, select, true

from worker.database.models import DeadLetter, State
from worker.database.replay_models import ReplayRow, RowState
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

__all__ = ["ANY_STATE", "HOLDS_EVENT", "HOLDS_NONE", "Selection", "holds_event", "is_replayable", "replayable"]

ANY_STATE: Final = "any"
"""What an operator writes in place of a state for every state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Rows that fit every filter given; of the values of one filter, any.

    Attributes:
        ids: The rows' own ids.
        states: What has become of them.
        reasons: Why they died.
        http_statuses: The status of the last answer.
        orgs: Organizations.
        groups: Groups.
        causes: Causes, as their fingerprints.
        request_ids: The answers that the feedback is for.
        since: Died at this time or later.
        until: Died before this time.
        rest_of: Replays, by their numbers, that ended before it was these rows' turn.
    """

    ids: tuple[int, ...] = ()
    states: tuple[State, ...] = ()
    reasons: tuple[Reason, ...] = ()
    http_statuses: tuple[int, ...] = ()
    orgs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    fingerprints: tuple[str, ...] = ()
    request_ids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    rest_of: tuple[int, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether no filter is given, or none but every state."""
        narrowing = any(getattr(self, field.name) for field in fields(self) if field.name != "states")
        return not narrowing and (not self.states or set(self.states) == set(State))

    @property
    def is_of_orgs(self) -> bool:
        """Whether no filter is given but by states and orgs."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name not in {"states", "orgs"})

    def to_record(self) -> dict[str, Any]:
        """Return the filters that are given, as JSON can carry them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        times = {name: value.isoformat() for name, value in given.items() if name in {"since", "until"} and value}
        return {name: list(value) for name, value in given.items() if isinstance(value, tuple) and value} | times

    def clause(self) -> ColumnElement[bool]:
        """Return the condition on `DeadLetter`."""
        # Every state is no condition, but for the index of the orgs, in which the state stands before the cause.
        states = self.states if self.orgs or set(self.states) != set(State) else ()
        wanted = (
            (DeadLetter.id, self.ids),
            (DeadLetter.state, states),
            (DeadLetter.reason, self.reasons),
            (DeadLetter.http_status, self.http_statuses),
            (DeadLetter.org, self.orgs),
            (DeadLetter.group, self.groups),
            (DeadLetter.fingerprint, self.fingerprints),
            (DeadLetter.request_id, self.request_ids),
        )
        clauses: list[ColumnElement[bool]] = [column.in_(values) for column, values in wanted if values]
        if self.rest_of:
            unsent = (ReplayRow.replay_id.in_(self.rest_of), ReplayRow.state == RowState.WAITING)
            clauses.append(DeadLetter.id.in_(select(ReplayRow.dead_letter_id).where(*unsent)))
        if self.since is not None:
            clauses.append(DeadLetter.failed_at >= self.since)
        if self.until is not None:
            clauses.append(DeadLetter.failed_at < self.until)
        return and_(true(), *clauses)


def replayable(selection: Selection, *, row_by_row: bool = False) -> ColumnElement[bool]:
    """Return the condition for the rows of a selection that a replay or a discard may take.

    Without a choice of states these are the dead. Rows whose enqueue was cut short, which are marked as replaying but
    were never confirmed to be in the queue, are taken whichever states are chosen; a plan that has not ended takes up
    its own. A row that is confirmed has an event in the queue, so its outcome is awaited, unless the operator asks for
    `State.REPLAYING` because the broker has lost it. A delivered row is never taken.

    Args:
        selection: The rows.
        row_by_row: Whether each row is looked at, and no index is to answer it: then few comparisons are.
    """
    chosen = set(selection.states or (State.DEAD,)) - {State.DELIVERED}
    if not chosen:
        return false()
    cut_short = DeadLetter.replay_enqueued_at.is_(None)
    if row_by_row:
        alternatives = (DeadLetter.state == state for state in sorted(chosen - {State.REPLAYING}))
        marked = DeadLetter.state == State.REPLAYING
        marked = marked if State.REPLAYING in chosen else and_(marked, cut_short)
        return and_(replace(selection, states=()).clause(), or_(*alternatives, marked))
    # In this form one index answers it: an alternative of two states would be looked up twice, row by row.
    taken = and_(DeadLetter.state.in_(chosen | {State.REPLAYING}), or_(DeadLetter.state.in_(chosen), cut_short))
    return and_(replace(selection, states=()).clause(), taken)


def is_replayable(row: DeadLetter, states: Collection[State] = (State.DEAD, State.DISCARDED)) -> bool:
    """Return what `replayable` says of one row, if these states are chosen; without any, those of a row named by id."""
    chosen = set(states) - {State.DELIVERED}
    cut_short = row.state is State.REPLAYING and row.replay_enqueued_at is None
    return bool(chosen) and (row.state in chosen or cut_short)


HOLDS_EVENT: Final = or_(DeadLetter.reason != Reason.INVALID, DeadLetter.org.is_not(None))
"""Only such a row can be replayed: another one is a message that can't be read as an event."""

HOLDS_NONE: Final = and_(DeadLetter.org.is_(None), DeadLetter.reason == Reason.INVALID)
"""The contrary, in a form that an index answers."""


def holds_event(row: DeadLetter) -> bool:
    """Return what `HOLDS_EVENT` says of one row."""
    return row.reason is not Reason.INVALID or row.org is not None
