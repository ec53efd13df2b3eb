"""Counting a million dead letters by what they have in common; from one index, without a row.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.dead_letters.lookups import covered

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy.orm import InstrumentedAttribute

__all__ = ["Share", "first_deaths", "lines_of", "shares", "summaries_by_fingerprint", "summaries_of"]

_T = TypeVar("_T")


def lines_of(connection: Connection, ids: list[int]) -> dict[str, str]:
    """Return the causes of some rows as text. They are in no index, so they are read from one row of each cause."""
    lines = select(DeadLetter.fingerprint, DeadLetter.summary).where(DeadLetter.id.in_(ids))
    return {row.fingerprint: row.summary for row in connection.execute(lines)}


def summaries_by_fingerprint(engine: Engine, causes: Iterable[str]) -> dict[str, str]:
    """Return causes as text, as far as any row has still died of them."""
    with translated(), engine.connect() as connection:
        return summaries_of(connection, causes)


def summaries_of(connection: Connection, causes: Iterable[str]) -> dict[str, str]:
    """As `summaries_by_fingerprint`, in a transaction: each takes one step into an index."""
    return _of_the_firsts(connection, DeadLetter.summary, causes)


def first_deaths(engine: Engine, causes: Iterable[str]) -> dict[str, datetime]:
    """Return when the first row of each of some causes died; nothing of a cause without rows."""
    with translated(), engine.connect() as connection:
        return _of_the_firsts(connection, DeadLetter.failed_at, causes)


def _of_the_firsts(connection: Connection, column: InstrumentedAttribute[_T], causes: Iterable[str]) -> dict[str, _T]:
    """A column of the first row of each cause, as in its order there is an index.

    Asked for one fingerprint, PostgreSQL would go through all rows in the order of their times, and for any row from
    the table's beginning: to it this is a range.
    """
    first = select(column).order_by(DeadLetter.fingerprint, DeadLetter.failed_at).limit(1)
    found = {
        cause: connection.scalar(first.where(DeadLetter.fingerprint.between(cause, cause)))
        for cause in sorted(set(causes))
    }
    return {cause: value for cause, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many rows of one cause, one org and one state."""

    summary: str
    org: str | None
    state: State
    rows: int


def shares(engine: Engine, which: ColumnElement[bool]) -> list[Share]:
    """Return how many rows there are of each cause, org and state, the most first."""
    alike = (DeadLetter.org, DeadLetter.state, DeadLetter.fingerprint)  # in the order of an index
    fits = covered(which, "org", "state", "fingerprint")
    query = select(*alike, func.count().label("rows")).where(fits).group_by(*alike)
    with translated(), engine.connect() as connection:
        found = connection.execute(query).all()
        lines = summaries_of(connection, {row.fingerprint for row in found})
    every = [
        Share(summary=lines.get(row.fingerprint, row.fingerprint), org=row.org, state=row.state, rows=row.rows)
        for row in found
    ]
    return sorted(every, key=lambda share: (-share.rows, share.org or "", share.state, share.summary))
