"""What the dead-letter table says that the accounts compare with Redis.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, exists, func, or_, select, update

from worker.database.errors import translated
from worker.database.models import DeadLetter, PrunedRows, State
from worker.database.replay_models import Replay, ReplayRow, RowState
from worker.dead_letters.pruning import COUNTED
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Engine

__all__ = ["Replaying", "Table", "count_by_state", "look_at_table", "put_back_to_dead", "replaying"]

_GRACE: Final = timedelta(minutes=1)
"""A row is marked before its event is in the queue: for so long a missing event is no finding."""

_AT_ONCE: Final = 500
"""Rows in one statement: SQLite takes 32,766 values, other databases more."""

_NOTE: Final = "reconcile: its replay was nowhere to be found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The dead-letter table in numbers.

    Attributes:
        made: Those of a counted insertion that are there: the others are older than the counts.
        pruned: Those of a counted insertion that were pruned when they were over.
        by_state: How many are in each state.
        by_reason: How many died of each reason, whatever has become of them.
    """

    made: int
    pruned: int
    by_state: Mapping[str, int]
    by_reason: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Replaying:
    """A row whose outcome has not come yet, and when it was marked."""

    row_id: int
    since: datetime | None


def look_at_table(engine: Engine) -> Table:
    """Count the rows."""
    with translated(), engine.connect() as connection:
        groups = connection.execute(_GROUPS).all()
        pruned = groups[0].pruned if groups else connection.scalar(_PRUNED)
    by_state, by_reason = Counter[str](), Counter[str]()
    for group in groups:
        by_state[group.state] += group.rows
        by_reason[group.reason] += group.rows
    return Table(
        made=sum(group.made for group in groups),
        pruned=int(pruned or 0),
        by_state={state.value: by_state[state] for state in State},
        by_reason={reason.value: by_reason[reason] for reason in Reason},
    )


_PRUNED: Final = select(func.coalesce(func.sum(PrunedRows.rows_pruned), 0)).where(PrunedRows.what == COUNTED)

_GROUPS: Final = select(
    DeadLetter.state,
    DeadLetter.reason,
    func.count(DeadLetter.message_id).label("made"),
    func.count().label("rows"),
    _PRUNED.scalar_subquery().label("pruned"),
).group_by(DeadLetter.state, DeadLetter.reason)
"""One statement, which sees one moment on every database: of two, the second would see a row again, or not at all, that
is pruned or dies in between."""


def count_by_state(engine: Engine) -> dict[str, int]:
    """Return how many rows are in each state."""
    rows = select(func.count()).select_from(DeadLetter)
    # To count the entries between two places of an index takes a fraction of the time of grouping them.
    query = select(*(rows.where(DeadLetter.state == state).scalar_subquery().label(state.value) for state in State))
    with translated(), engine.connect() as connection:
        return dict(connection.execute(query).mappings().one())


def replaying(engine: Engine) -> set[Replaying]:
    """Return the rows that have been replaying for more than a minute; those that their plan takes up are not among."""
    long_ago = or_(DeadLetter.last_replay_at.is_(None), DeadLetter.last_replay_at < datetime.now(UTC) - _GRACE)
    taken_up = exists().where(
        ReplayRow.dead_letter_id == DeadLetter.id,
        ReplayRow.state == RowState.SENDING,
        Replay.id == ReplayRow.replay_id,
        Replay.closed_at.is_(None),
    )
    query = select(DeadLetter.id, DeadLetter.last_replay_at).where(DeadLetter.state == State.REPLAYING)
    with translated(), engine.connect() as connection:
        return {Replaying(row.id, row.last_replay_at) for row in connection.execute(query.where(long_ago, ~taken_up))}


def put_back_to_dead(engine: Engine, rows: Iterable[Replaying]) -> list[int]:
    """Give rows that wait for an outcome in vain the state dead, and return their ids. In their plans they are lost.

    A row that has changed since it was looked at is left alone.
    """
    back: list[int] = []
    for since, group in groupby(sorted(rows, key=_by_mark), key=lambda row: row.since):
        ids = [row.row_id for row in group]
        for start in range(0, len(ids), _AT_ONCE):
            back += _put_back(engine, ids[start : start + _AT_ONCE], since)
    return sorted(back)


def _by_mark(row: Replaying) -> tuple[datetime, int]:
    return row.since or datetime.min.replace(tzinfo=UTC), row.row_id


def _put_back(engine: Engine, ids: list[int], since: datetime | None) -> list[int]:
    """Put rows back that one run marked together."""
    these = DeadLetter.id.in_(ids)
    marked = DeadLetter.last_replay_at.is_(None) if since is None else DeadLetter.last_replay_at == since
    with translated(), engine.begin() as connection:
        still = and_(these, marked, DeadLetter.state == State.REPLAYING)
        connection.execute(update(DeadLetter).where(still).values(state=State.DEAD, comment=_NOTE))
        back = list(connection.scalars(select(DeadLetter.id).where(these, marked, DeadLetter.comment == _NOTE)))
        lost = and_(ReplayRow.dead_letter_id.in_(back), ReplayRow.state == RowState.ENQUEUED)
        values = {"state": RowState.LOST, "comment": _NOTE, "changed_at": datetime.now(UTC)}
        connection.execute(update(ReplayRow).where(lost).values(values))
        return back
