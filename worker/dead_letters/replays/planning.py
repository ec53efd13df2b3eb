"""Making a plan: looking at what it would do, and freezing its rows."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    and_,
    exists,
    func,
    insert,
    select,
    update,
)

from worker.database.audit_log import write_action
from worker.database.errors import translated
from worker.database.models import MAX_ACTOR_LENGTH, PREVIEW, DeadLetter
from worker.database.replay_models import OPEN, Replay, ReplayRow, ReplayState
from worker.dead_letters.lookups import by_no_index, covered, keep_to_indices
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.errors import NothingToReplay
from worker.dead_letters.replays.freezing import active_plans, freeze, leave_to_others, pages_of
from worker.dead_letters.replays.queries import Plan, read_plan
from worker.dead_letters.selection import HOLDS_EVENT, HOLDS_NONE, replayable
from worker.dead_letters.statistics import summaries_of
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from worker.dead_letters.selection import Selection

__all__ = ["FASTEST", "SLOWEST", "Preview", "PreviewCount", "create", "preview"]

SLOWEST: Final = 0.001
FASTEST: Final = 1_000_000
"""Rows a second. What is slower than a row in a quarter of an hour, or faster than Redis, is a slip of the keys."""


_AS_THEY_ARE: Final = Edit()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewCount:
    """How many rows have something in common.

    Attributes:
        name: What filters take.
        summary: The same for people.
        rows: How many.
        first_failed_at: When the first of them died.
        last_failed_at: When the last of them died.
    """

    name: str
    summary: str
    rows: int
    first_failed_at: datetime
    last_failed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What a plan would change.

    Attributes:
        field: ``org`` or ``group``.
        value: What it becomes.
        rows: In how many rows; the others have it already.
    """

    field: str
    value: str
    rows: int

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {"field": self.field, "value": self.value, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a plan would do.

    Attributes:
        rows: How many rows it would take.
        invalid: How many more fit, but hold no event that could be replayed.
        elsewhere: How many more fit, but another plan that has not ended has them.
        by_cause: Its rows by what they died of, the most frequent first.
        by_org: Its rows by organization, likewise.
        by_state: Its rows by what has become of them so far, likewise.
        duration: How long it takes to enqueue them; None without a rate.
        edited: What it changes in them, and in how many.
    """

    rows: int
    invalid: int
    elsewhere: int
    by_cause: tuple[PreviewCount, ...]
    by_org: tuple[PreviewCount, ...]
    by_state: tuple[PreviewCount, ...]
    duration: timedelta | None
    edited: tuple[Edited, ...] = ()


def preview(
    engine: Engine,
    selection: Selection,
    *,
    rate: float | None = None,
    limit: int | None = None,
    edit: Edit = _AS_THEY_ARE,
) -> Preview:
    """Return what a plan would do; nothing is changed.

    Args:
        engine: The database.
        selection: The rows.
        rate: Rows a second at most.
        limit: How many rows at most; the oldest.
        edit: What it would change in their events.

    Raises:
        ValueError: The rate is not between `SLOWEST` and `FASTEST`.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    _check_rate(rate)
    with translated(), engine.connect() as connection:
        others = active_plans(connection)
        groups = _groups(connection, selection, others, edit, limit=limit)
        taken = sum(group.rows for group in groups) if limit is None else None
        invalid, elsewhere = _left_out(connection, selection, others, taken=taken)
        lines = summaries_of(connection, {group.fingerprint for group in groups})
    by_cause = _counts(groups, lambda group: (group.fingerprint, lines.get(group.fingerprint, group.fingerprint)))
    by_org = _counts(groups, lambda group: (group.org or "", group.org or ""))
    by_state = _counts(groups, lambda group: (group.state.value, group.state.value))
    rows = sum(count.rows for count in by_cause)
    duration = None if rate is None else timedelta(seconds=rows / rate)
    edited = tuple(
        Edited(field=name, value=value, rows=sum(int(getattr(group, f"set_{name}")) for group in groups))
        for name, value in edit.fields.items()
    )
    return Preview(
        rows=rows,
        invalid=invalid,
        elsewhere=elsewhere,
        by_cause=by_cause,
        by_org=by_org,
        by_state=by_state,
        duration=duration,
        edited=edited,
    )


def _groups(
    connection: Connection, selection: Selection, others: set[int], edit: Edit, *, limit: int | None
) -> Sequence[Row[Any]]:
    """What a plan would take, by org, state and cause: in the order of an index, which has all that is counted by."""
    dialect = connection.dialect.name
    if dialect == "sqlite" and limit is None and selection.is_of_orgs and not (others or edit.fields):
        return _groups_and_ends(connection, selection)
    fits = covered(replayable(selection), *PREVIEW) if limit is None else by_no_index(replayable(selection))
    if limit is None:
        keep_to_indices(connection)
    chosen = _chosen(fits, others, dialect, limit=limit).add_columns(*edit.changes()).subquery()
    died = (func.min(chosen.c.failed_at).label("first"), func.max(chosen.c.failed_at).label("last"))
    alike = (chosen.c.org, chosen.c.state, chosen.c.fingerprint)
    changed = [func.sum(chosen.c[f"set_{name}"]).label(f"set_{name}") for name in edit.fields]
    return connection.execute(select(*alike, func.count().label("rows"), *died, *changed).group_by(*alike)).all()


def _groups_and_ends(connection: Connection, selection: Selection) -> Sequence[Row[Any]]:
    """The same in half of SQLite's time, where each comparison of a row takes its own: a group's ends are looked up."""
    fits = and_(covered(replayable(selection, row_by_row=True), *PREVIEW), HOLDS_EVENT)
    alike = (DeadLetter.org, DeadLetter.state, DeadLetter.fingerprint)
    groups = select(*alike, func.count().label("rows")).where(fits).group_by(*alike).subquery()
    of_group = (column.is_not_distinct_from(groups.c[column.name]) for column in alike)
    died = select(DeadLetter.failed_at).where(*of_group, fits).limit(1)
    first, last = (died.order_by(at).scalar_subquery() for at in (DeadLetter.failed_at, DeadLetter.failed_at.desc()))
    return connection.execute(select(groups, first.label("first"), last.label("last"))).all()


def _counts(groups: Sequence[Row[Any]], name: Callable[[Row[Any]], tuple[str, str]]) -> tuple[PreviewCount, ...]:
    """Groups of rows by what they have in common, the largest first."""
    together: dict[tuple[str, str], list[Row[Any]]] = {}
    for group in groups:
        together.setdefault(name(group), []).append(group)
    counts = (
        PreviewCount(
            name=name,
            summary=text,
            rows=sum(group.rows for group in alike),
            first_failed_at=min(group.first for group in alike),
            last_failed_at=max(group.last for group in alike),
        )
        for (name, text), alike in together.items()
    )
    return tuple(sorted(counts, key=lambda count: (-count.rows, count.name)))


def create(
    engine: Engine,
    selection: Selection,
    *,
    actor: str,
    comment: str = "",
    rate: float | None = None,
    canary: int = 0,
    limit: int | None = None,
    begins_at: datetime | None = None,
    edit: Edit = _AS_THEY_ARE,
) -> Plan:
    """Make a plan. Its rows are chosen now, in the database; a worker begins within a few seconds.

    They are written down in small steps, so that workers that insert meanwhile don't wait. Until the last of these
    the plan is a cancelled one: killed in the middle, it never goes.

    Args:
        engine: The database.
        selection: The rows. Those that another plan has which has not ended are left out.
        actor: The operator.
        comment: The reason.
        rate: Rows a second at most; unlimited if None.
        canary: How many rows go first: one of each cause by turns, the oldest. The rest goes only when they are
            delivered; if one of them fails again the plan stops. 0 if all go at once.
        limit: How many rows at most; the oldest.
        begins_at: When it begins; at once if None. A worker begins it within a few seconds of that, and until then no
            other plan takes its rows.
        edit: What it changes in their events when they go.

    Raises:
        ValueError: The rate is not between `SLOWEST` and `FASTEST`, the number of canaries is negative, or the time to
            begin has no offset.
        NothingToReplay: No row fits.
        DeadLetterStoreUnavailable: The database did not do it: there is no plan.
    """
    _check_rate(rate)
    if canary < 0:
        raise ValueError(f"the canary is {canary} rows: expected 0 or more")
    if begins_at is not None and begins_at.tzinfo is None:
        raise ValueError(f"it begins at {begins_at.isoformat()}: expected a time with an offset")
    pace = {"rate": rate, "canary": canary, "begins_at": begins_at, "due_at": begins_at} | edit.to_record()
    values = _new(selection, actor, comment) | pace
    with translated():
        return _create(engine, selection, values, limit=limit)


def _create(engine: Engine, selection: Selection, values: dict[str, Any], *, limit: int | None) -> Plan:
    with engine.connect() as connection:
        others = active_plans(connection)
        left_out = _left_out(connection, selection, others)
    pages = pages_of(
        engine,
        _chosen(by_no_index(replayable(selection)), others, engine.dialect.name, limit=limit),
        canary=values["canary"],
        limit=limit,
    )
    if (first := next(pages, None)) is None:
        raise NothingToReplay(_NOTHING)
    with engine.begin() as connection:
        (replay_id,) = connection.execute(insert(Replay).values(values)).inserted_primary_key or (0,)
    total = freeze(engine, replay_id, chain([first], pages))
    with engine.begin() as connection:
        _begin(connection, replay_id, selection, total=total, left_out=left_out, others=others)
    with engine.connect() as connection:
        return read_plan(connection, replay_id)


def _begin(
    connection: Connection,
    replay_id: int,
    selection: Selection,
    *,
    total: int,
    left_out: tuple[int, int],
    others: set[int],
) -> None:
    """Let a plan begin whose rows are chosen; what plans have that were made meanwhile is left to them."""
    # First, for in SQLite it is what keeps all other writers out.
    plan = update(Replay).where(Replay.id == replay_id)
    connection.execute(plan.values(_BEGUN))
    taken = leave_to_others(connection, replay_id, active_plans(connection) - others - {replay_id})
    if taken == total:
        raise NothingToReplay(_NOTHING)
    made = connection.execute(select(Replay).where(Replay.id == replay_id)).one()
    found = {"total": total - taken, "canary_until": min(made.canary, total)}
    found |= {"invalid": left_out[0], "elsewhere": left_out[1] + taken}
    connection.execute(plan.values(found))
    details = {"rows": total - taken, "rate": made.rate, "canary": made.canary, "selection": selection.to_record()}
    details |= {} if made.begins_at is None else {"begins_at": made.begins_at.isoformat()}
    details |= Edit(org=made.set_org, group=made.set_group).to_record()
    target = f"replay {replay_id}"
    write_action(
        connection, actor=made.actor, action="replay.create", target=target, comment=made.comment, details=details
    )


_NOTHING: Final = "no row fits that could be replayed"

_BEGUN: Final = {"state": ReplayState.PLANNED, "stopped_because": "", "ended_at": None, "closed_at": None}
"""What makes a plan of one whose rows were being chosen."""


def _new(selection: Selection, actor: str, comment: str) -> dict[str, Any]:
    """A plan whose rows are being chosen is as one that was cancelled, so that one that is cut short stays so."""
    now = datetime.now(UTC)
    return {
        "name": uuid.uuid4().hex,
        "state": ReplayState.CANCELLED,
        "selection": json.dumps(selection.to_record(), ensure_ascii=False),
        "canary_until": 0,
        "actor": clean(actor)[:MAX_ACTOR_LENGTH],
        "comment": clean(comment),
        "stopped_because": "its rows were not all chosen: planning it was cut short, so plan it again",
        "created_at": now,
        "ended_at": now,
        "closed_at": now,
        "step_number": 0,
        **dict.fromkeys(("total", "elsewhere", "invalid"), 0),
    }


def _check_rate(rate: float | None) -> None:
    if rate is not None and not SLOWEST <= rate <= FASTEST:  # as NaN is, too
        raise ValueError(f"the rate is {rate}: expected {SLOWEST:g} to {FASTEST:,} rows a second")


def _chosen(
    fits: ColumnElement[bool], others: set[int], dialect: str, *, limit: int | None = None
) -> Select[*tuple[Any, ...]]:
    """Those of the rows that fit which a plan takes: they hold an event, and none of the others has them."""
    columns = (
        DeadLetter.id,
        DeadLetter.state,
        DeadLetter.fingerprint,
        DeadLetter.summary,
        DeadLetter.org,
        DeadLetter.failed_at,
    )
    query = select(*columns).where(fits, HOLDS_EVENT)
    if others:
        query = query.where(~_is_elsewhere(others, dialect))
    return query if limit is None else query.order_by(DeadLetter.id).limit(limit)


def _left_out(
    connection: Connection, selection: Selection, others: set[int], *, taken: int | None = None
) -> tuple[int, int]:
    """How many fit and are left out: because they hold no event, and because other plans have them.

    Args:
        connection: A transaction.
        selection: The rows.
        others: The other plans.
        taken: How many are not left out, if that is known: then those of other plans need not be looked for.
    """
    rows = select(func.count()).select_from(DeadLetter)
    fits = by_no_index(replayable(selection))
    invalid = connection.scalar(rows.where(fits, covered(HOLDS_NONE, *PREVIEW))) or 0
    if not others:
        return invalid, 0
    if taken is not None:
        everything = connection.scalar(rows.where(covered(replayable(selection), *PREVIEW), HOLDS_EVENT)) or 0
        return invalid, max(everything - taken, 0)
    elsewhere = rows.where(fits, HOLDS_EVENT, _is_elsewhere(others, connection.dialect.name))
    return invalid, connection.scalar(elsewhere) or 0


def _is_elsewhere(others: set[int], dialect: str) -> ColumnElement[bool]:
    """Whether one of these plans has the row.

    Most databases look their rows up once. PostgreSQL would go through such a list for each row, once it is longer than
    its memory for a hash table: it joins them instead.
    """
    taken = (ReplayRow.replay_id.in_(others), ReplayRow.state.in_(OPEN))
    if dialect == "postgresql":
        return exists(select(ReplayRow.replay_id).where(*taken, ReplayRow.dead_letter_id == DeadLetter.id))
    return DeadLetter.id.in_(select(ReplayRow.dead_letter_id).where(*taken))
