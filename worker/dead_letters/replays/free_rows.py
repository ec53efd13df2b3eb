"""Which dead letters another replay may still take: the first few of them say enough for a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import exists, func, select

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.database.replay_models import ACTIVE, OPEN, Replay, ReplayRow, RowState
from worker.dead_letters.lookups import by_no_index, covered
from worker.dead_letters.selection import HOLDS_EVENT, Selection, replayable

if TYPE_CHECKING:
    from sqlalchemy import Engine, Select

__all__ = ["LOOKED_AT", "FreeRows", "free_rest", "free_rows"]

LOOKED_AT: Final = 5_000
"""Rows: each is looked up in the rows of all replays, a few microseconds."""


@dataclass(frozen=True, slots=True)
class FreeRows:
    """What was found among the first rows.

    Attributes:
        rows: How many of them another replay may take.
        are_all: Whether there are no more rows than were looked at.
    """

    rows: int
    are_all: bool

    @property
    def any(self) -> bool:
        """Whether there may be one: none is said only where every row was looked at."""
        return self.rows > 0 or not self.are_all


def free_rows(engine: Engine, selection: Selection, *, most: int = LOOKED_AT) -> FreeRows:
    """Look at the first rows of a selection that a replay takes, in no order.

    To count all that no other replay has takes as long as a preview does, while a page only shows a button or does not.

    Args:
        engine: The database.
        selection: The rows.
        most: How many rows to look at.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    fits = (covered(replayable(selection), "id", "reason", "org"), HOLDS_EVENT)
    return _free(engine, select(DeadLetter.id).where(*fits), most)


def free_rest(engine: Engine, replay_id: int, *, most: int = LOOKED_AT) -> FreeRows:
    """Look at the first rows that a replay did not send; as `free_rows`, whose arguments these are."""
    rest = (ReplayRow.replay_id == replay_id, ReplayRow.state == RowState.WAITING)
    fits = (by_no_index(replayable(Selection())), HOLDS_EVENT)
    joined = select(DeadLetter.id).join_from(ReplayRow, DeadLetter, DeadLetter.id == ReplayRow.dead_letter_id)
    return _free(engine, joined.where(*rest, *fits), most)


def _free(engine: Engine, ids: Select[int], most: int) -> FreeRows:
    some = ids.limit(most + 1).subquery()
    taken = exists(
        select(Replay.id)
        .join(ReplayRow, ReplayRow.replay_id == Replay.id)
        .where(ReplayRow.dead_letter_id == some.c.id, ReplayRow.state.in_(OPEN), Replay.state.in_(ACTIVE))
    )
    free = select(func.count()).select_from(some).where(~taken)
    looked_at = select(func.count()).select_from(some)
    with translated(), engine.connect() as connection:
        rows, seen = connection.execute(select(free.scalar_subquery(), looked_at.scalar_subquery())).one()
    return FreeRows(rows=rows, are_all=seen <= most)
