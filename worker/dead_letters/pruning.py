"""Pruning: what is over is forgotten after a while, and the books still add up.

Reconciling compares how many dead letters were inserted, which Redis counts, with the rows that are there. So
how many of these were pruned is written down in the very transaction that deletes them: killed at any moment, neither
is done, or both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, and_, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from worker.database.cause_models import Cause, CauseState
from worker.database.errors import translated
from worker.database.models import DeadLetter, PrunedRows, State
from worker.database.replay_models import Replay, ReplayRow
from worker.dead_letters.lookups import by_no_index

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

__all__ = ["COUNTED", "Pruned", "count_prunable", "prune"]

COUNTED: Final = "counted"
"""Under which name the number of pruned rows of a counted insertion stands."""

_CHUNK: Final = 250
"""Rows in one transaction: a dead letter inserted meanwhile waits for it, some ten milliseconds."""

_CAUSES_LONGER: Final = timedelta(days=365)
"""How much longer than dead letters causes are kept of which nothing died, and which no operator has touched."""

_SHARE: Final = 4
"""For each second of deleting, so many are left to the others."""


_FIRST_YEAR: Final = 1970
"""Nothing was seen before: and a time a year earlier than the first one that Python has can't be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How many of each kind were pruned.

    Attributes:
        dead_letters: Dead letters.
        replays: Replay plans; their rows went with them.
    """

    dead_letters: int = 0
    replays: int = 0


def count_prunable(engine: Engine, before: datetime) -> Pruned:
    """Return what `prune` would prune.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    with translated(), engine.connect() as connection:
        rows = connection.scalar(select(func.count()).select_from(DeadLetter).where(_is_over(before)))
        replays = connection.scalar(select(func.count()).select_from(Replay).where(Replay.closed_at < before))
    return Pruned(dead_letters=rows or 0, replays=replays or 0)


def prune(
    engine: Engine,
    before: datetime,
    *,
    stop: Event | None = None,
    progress: Callable[[Pruned], None] = lambda _: None,
) -> Pruned:
    """Delete what has been over for long enough: dead letters that are delivered or discarded, and replay plans.

    A cause is forgotten a year after that, if none of its rows is left and no operator has decided anything of it.

    Never a dead letter that is dead or replaying, nor a plan that has not ended or waits for an outcome.

    It goes in small steps with pauses, so that workers that insert meanwhile don't wait; each step holds, whatever
    becomes of the next. Two may run at once.

    Args:
        engine: The database.
        before: What was over before then.
        stop: Set it to end after the step at hand.
        progress: Called after each step with what was pruned so far.

    Raises:
        DeadLetterStoreUnavailable: The database did not do it; what was pruned before stays so.
    """
    pruned, stop = Pruned(), stop or Event()
    for step in (_prune_dead_letters, _prune_replay, _prune_causes):
        more = True
        while more and not stop.is_set():
            began = time.monotonic()
            more, done = step(engine, before)
            pruned = Pruned(dead_letters=pruned.dead_letters + done.dead_letters, replays=pruned.replays + done.replays)
            progress(pruned)
            if more:
                stop.wait((time.monotonic() - began) * _SHARE)
    return pruned


def _prune_dead_letters(engine: Engine, before: datetime) -> tuple[bool, Pruned]:
    """Delete some rows that are still over; return whether there may be more, and how many are gone."""
    is_over = _is_over(before)
    with translated():
        with engine.connect() as connection:
            ids = list(connection.scalars(select(DeadLetter.id).where(is_over).limit(_CHUNK)))
        if not ids:
            return False, Pruned()
        # One that was replayed or died again since is not over any more. SQLite would look it up among all that are.
        still = and_(DeadLetter.id.in_(ids), by_no_index(is_over))
        try:
            gone = _delete(engine, still)
        except IntegrityError:  # two wrote the first number at once: by now it is there
            gone = _delete(engine, still)
    return len(ids) == _CHUNK, Pruned(dead_letters=gone)


def _prune_replay(engine: Engine, before: datetime) -> tuple[bool, Pruned]:
    """Delete some rows of a plan that is over, and the plan after its last; return as `_prune_dead_letters` does."""
    over = select(Replay.id).where(Replay.closed_at < before).order_by(Replay.closed_at, Replay.id).limit(1)
    with translated(), engine.begin() as connection:
        plan = connection.scalar(over)
        if plan is None:
            return False, Pruned()
        rows = select(ReplayRow.dead_letter_id).where(ReplayRow.replay_id == plan).limit(_CHUNK)
        ids = list(connection.scalars(rows))
        connection.execute(delete(ReplayRow).where(ReplayRow.replay_id == plan, ReplayRow.dead_letter_id.in_(ids)))
        if len(ids) == _CHUNK:
            return True, Pruned()
        return True, Pruned(replays=_rows(connection.execute(delete(Replay).where(Replay.id == plan))))


def _prune_causes(engine: Engine, before: datetime) -> tuple[bool, Pruned]:
    """Delete some causes that are forgotten; return as `_prune_dead_letters` does. They are not counted."""
    if before.year <= _FIRST_YEAR:
        return False, Pruned()
    untouched = (Cause.state == CauseState.OPEN, Cause.changed_at.is_(None), Cause.muted_until.is_(None))
    unmarked = (Cause.owner == "", Cause.runbook_url == "")
    left = exists(select(DeadLetter.id).where(DeadLetter.fingerprint == Cause.fingerprint))
    over = and_(Cause.last_seen_at < before - _CAUSES_LONGER, *untouched, *unmarked, ~left)
    with translated(), engine.begin() as connection:
        names = list(connection.scalars(select(Cause.fingerprint).where(over).limit(_CHUNK)))
        if names:
            connection.execute(delete(Cause).where(Cause.fingerprint.in_(names), over))
    return len(names) == _CHUNK, Pruned()


def _delete(engine: Engine, which: ColumnElement[bool]) -> int:
    with engine.begin() as connection:
        counted = _rows(connection.execute(delete(DeadLetter).where(which, DeadLetter.message_id.is_not(None))))
        others = _rows(connection.execute(delete(DeadLetter).where(which, DeadLetter.message_id.is_(None))))
        if counted:
            _note(connection, counted)
    return counted + others


def _note(connection: Connection, counted: int) -> None:
    more = update(PrunedRows).where(PrunedRows.what == COUNTED).values(rows_pruned=PrunedRows.rows_pruned + counted)
    if not _rows(connection.execute(more)):
        connection.execute(insert(PrunedRows).values(what=COUNTED, rows_pruned=counted))


def _is_over(before: datetime) -> ColumnElement[bool]:
    """What was settled before then had died before; said as well, it lets an index find the rows."""
    over = DeadLetter.state.in_([State.DELIVERED, State.DISCARDED])
    return and_(over, DeadLetter.failed_at < before, DeadLetter.resolved_at < before)


def _rows(result: object) -> int:
    return cast("CursorResult[Any]", result).rowcount
