"""Causes of which no event had died before a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, select

from worker.database.cause_models import Cause
from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.causes import every_fingerprint
from worker.dead_letters.statistics import summaries_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy import Engine

__all__ = ["NewCause", "new_causes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCause:
    """A cause of dead letters.

    Attributes:
        fingerprint: What filters take.
        summary: The cause as text.
        first_failed_at: When the first event died of it.
        rows: How many have.
        orgs: Of how many organizations they are.
    """

    fingerprint: str
    summary: str
    first_failed_at: datetime
    rows: int
    orgs: int


def new_causes(engine: Engine, since: datetime, *, known: Collection[str] = ()) -> list[NewCause]:
    """Return the causes whose first dead letter is from then on, the first one first.

    Each cause takes two steps into an index, however many rows have died of it; of the new ones the rows are counted
    there.

    Args:
        engine: The database.
        since: The moment.
        known: Fingerprints that are left out.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    each = every_fingerprint()
    of_each = DeadLetter.fingerprint == each.c.fingerprint
    first = select(func.min(DeadLetter.failed_at)).where(of_each).scalar_subquery()
    firsts = select(each.c.fingerprint, first.label("first")).where(each.c.fingerprint.is_not(None)).subquery()
    # A row that has died again says when it did last: when anything first died of a cause stands beside the rows.
    is_old = exists().where(Cause.fingerprint == firsts.c.fingerprint, Cause.first_seen_at < since)
    new = select(firsts.c.fingerprint, firsts.c.first).where(firsts.c.first >= since, ~is_old)
    new = new.order_by(firsts.c.first)
    numbers = select(func.count(), func.count(func.distinct(DeadLetter.org)))
    with translated(), engine.connect() as connection:
        found = [row for row in connection.execute(new) if row.fingerprint not in known]
        summaries = summaries_of(connection, (row.fingerprint for row in found))
        counted = {
            row.fingerprint: connection.execute(numbers.where(DeadLetter.fingerprint == row.fingerprint)).one()
            for row in found
        }
    return [
        NewCause(
            fingerprint=row.fingerprint,
            summary=summaries.get(row.fingerprint, row.fingerprint),
            first_failed_at=row.first,
            rows=counted[row.fingerprint][0],
            orgs=counted[row.fingerprint][1],
        )
        for row in found
    ]
