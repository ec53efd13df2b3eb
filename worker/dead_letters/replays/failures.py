"""Of what the rows of a replay died again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, select

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.database.replay_models import ReplayRow, RowState
from worker.dead_letters.statistics import lines_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["FailureCount", "died_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCount:
    """How many rows of a replay died again of one cause.

    Attributes:
        cause: The fingerprint, which filters take.
        summary: The cause as text.
        rows: How many.
        as_before: How many of these had died of the same before.
    """

    fingerprint: str
    summary: str
    rows: int
    as_before: int

    @property
    def line(self) -> str:
        """How many of what, and whether that is new."""
        new = self.rows - self.as_before
        return f"{self.rows:,} of {self.summary}" + (f", {new:,} of them of another cause before" if new else "")

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return asdict(self)


def died_of(engine: Engine, replay_id: int) -> list[FailureCount]:
    """Return of what the rows died that a replay sent in vain, the most frequent cause first.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    rows = func.count().label("rows")
    as_before = func.sum(case((DeadLetter.fingerprint == ReplayRow.fingerprint, 1), else_=0)).label("as_before")
    query = (
        select(DeadLetter.fingerprint, rows, as_before, func.min(DeadLetter.id).label("one"))
        .join_from(ReplayRow, DeadLetter, DeadLetter.id == ReplayRow.dead_letter_id)
        .where(ReplayRow.replay_id == replay_id, ReplayRow.state == RowState.DEAD)
        .group_by(DeadLetter.fingerprint)
        .order_by(rows.desc(), DeadLetter.fingerprint)
    )
    with translated(), engine.connect() as connection:
        found = connection.execute(query).all()
        lines = lines_of(connection, [row.one for row in found])
    return [
        FailureCount(
            fingerprint=row.fingerprint,
            summary=lines.get(row.fingerprint, row.fingerprint),
            rows=row.rows,
            as_before=int(row.as_before),
        )
        for row in found
    ]
