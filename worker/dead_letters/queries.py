"""Looking at dead letters: some, one, how many, or all of them in flat memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.orm import Session, defer

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.statistics import covered
from worker.policy.parsing import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["count", "find", "stream"]

_PAGE: Final = 100
"""Rows fetched at a time. Each may hold a raw message of 1 MiB, so this also bounds the memory."""


def count(engine: Engine, which: ColumnElement[bool]) -> int:
    """Return how many rows fit."""
    with translated(), engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(DeadLetter).where(which)) or 0


def find(engine: Engine, name: str) -> list[DeadLetter]:
    """Return the row of an id, or the rows of a request_id, oldest first."""
    if name.isascii() and name.isdecimal():
        # No id has more digits, and thousands of them Python refuses to read.
        which: ColumnElement[bool] = DeadLetter.id == (int(name) if len(name) < len(str(LARGEST)) else LARGEST)
    else:
        which = DeadLetter.request_id == name.lower()
    with translated(), Session(engine) as session:
        return list(session.scalars(select(DeadLetter).where(which).order_by(DeadLetter.id)))


def stream(
    engine: Engine,
    which: ColumnElement[bool],
    *,
    limit: int | None = None,
    page: int = _PAGE,
    with_raw: bool = False,
) -> Iterator[list[DeadLetter]]:
    """Yield all rows that fit, page by page, by id.

    Each page is a query of its own that starts after the last id seen: no transaction stays open while the caller is
    at work, rows may be changed on the way, and none comes twice. Rows that are inserted meanwhile don't come.

    Args:
        engine: The database.
        which: The rows wanted.
        limit: How many at most.
        page: How many at a time.
        with_raw: Whether their raw messages are wanted too.
    """
    fits = covered(which)  # whatever fits, SQLite goes by the id
    with translated(), engine.connect() as connection:
        first, final = connection.execute(select(func.min(DeadLetter.id), func.max(DeadLetter.id)).where(fits)).one()
    seen, left = (first or 0) - 1, limit
    while final is not None and (left is None or left > 0):
        size = page if left is None else min(page, left)
        query = select(DeadLetter).where(fits, DeadLetter.id > seen, DeadLetter.id <= final)
        query = query.order_by(DeadLetter.id).limit(size)
        with translated(), Session(engine) as session:
            rows = list(session.scalars(query if with_raw else query.options(_NO_RAW)))
        if not rows:
            return
        yield rows
        seen = rows[-1].id
        left = None if left is None else left - len(rows)


_NO_RAW: Final = defer(DeadLetter.raw, raiseload=True)
