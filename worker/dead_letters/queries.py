"""Looking at dead letters: some, one, how many, or all of them in flat memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import ColumnElement, Engine, and_, func, literal, select
from sqlalchemy.orm import Session, defer

from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.lookups import FEW, by_no_index, covered, few_of, keep_to_indices
from worker.policy.parsing import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["count", "find", "request_ids_like", "stream", "stream_ids"]

_T = TypeVar("_T")

_PAGE: Final = 100
"""Rows fetched at a time. Each may hold a raw message of 1 MiB, so this also bounds the memory."""


def count(engine: Engine, which: ColumnElement[bool], *, most: int | None = None) -> int:
    """Return how many rows fit.

    Args:
        engine: The database.
        which: The rows.
        most: Where more fit than this, it says one more than this, and the others are not counted.
    """
    rows = select(func.count()).select_from(DeadLetter).where(covered(which))
    if most is not None:
        some = select(literal(1).label("one")).select_from(DeadLetter).where(covered(which)).limit(most + 1)
        rows = select(func.count()).select_from(some.subquery())
    with translated(), engine.connect() as connection:
        keep_to_indices(connection)
        return connection.scalar(rows) or 0


def find(engine: Engine, name: str) -> list[DeadLetter]:
    """Return the row of an id, or the rows of a request_id, oldest first."""
    if name.isascii() and name.isdecimal():
        # No id has more digits, and thousands of them Python refuses to read.
        which: ColumnElement[bool] = DeadLetter.id == (int(name) if len(name) < len(str(LARGEST)) else LARGEST)
    else:
        which = DeadLetter.request_id == name.lower()
    with translated(), Session(engine) as session:
        return list(session.scalars(select(DeadLetter).where(which).order_by(DeadLetter.id)))


def request_ids_like(engine: Engine, beginning: str, *, limit: int) -> list[str]:
    """Return the request_ids of dead letters that begin so, in their order.

    Args:
        engine: The database.
        beginning: Hexadecimal digits in lower case, and hyphens.
        limit: How many at most.
    """
    column = DeadLetter.request_id
    after = f"{beginning}g"  # which follows every digit
    query = select(column).where(column >= beginning, column < after).distinct().order_by(column).limit(limit)
    with translated(), engine.connect() as connection:
        return [name for name in connection.scalars(query) if name is not None]


def stream(
    engine: Engine,
    which: ColumnElement[bool],
    *,
    limit: int | None = None,
    page: int = _PAGE,
    with_raw: bool = False,
    few: int = FEW,
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
        few: How many rows are few: they are found at once, in an index. Where more fit, they are met soon in the order
            of the ids.
    """
    query = (select(DeadLetter) if with_raw else select(DeadLetter).options(_NO_RAW)).order_by(DeadLetter.id)

    def fetch(fits: ColumnElement[bool], most: int) -> list[DeadLetter]:
        with translated(), Session(engine) as session:
            return list(session.scalars(query.where(fits).limit(most)))

    return _pages(engine, which, fetch, lambda row: row.id, limit=limit, page=page, few=few)


def stream_ids(engine: Engine, which: ColumnElement[bool], *, limit: int | None, page: int) -> Iterator[list[int]]:
    """Yield the ids of all rows that fit, page by page; as `stream`, whose arguments these are."""
    query = select(DeadLetter.id).order_by(DeadLetter.id)

    def fetch(fits: ColumnElement[bool], most: int) -> list[int]:
        with translated(), engine.connect() as connection:
            return list(connection.scalars(query.where(fits).limit(most)))

    return _pages(engine, which, fetch, lambda row_id: row_id, limit=limit, page=page, few=FEW)


def _pages(
    engine: Engine,
    which: ColumnElement[bool],
    fetch: Callable[[ColumnElement[bool], int], list[_T]],
    id_of: Callable[[_T], int],
    *,
    limit: int | None,
    page: int,
    few: int,
) -> Iterator[list[_T]]:
    fits = by_no_index(which)
    with translated(), engine.connect() as connection:
        final = connection.scalar(select(func.max(DeadLetter.id)))
        found_at_once = few_of(connection, which, DeadLetter.id, most=few)
    if found_at_once is not None:
        ids = sorted(row.id for row in found_at_once)[:limit]
        for start in range(0, len(ids), page):
            if found := fetch(and_(DeadLetter.id.in_(ids[start : start + page]), fits), page):
                yield found
        return
    seen, left = -1, limit
    while left is None or left > 0:
        size = page if left is None else min(page, left)
        if not (found := fetch(and_(fits, DeadLetter.id > seen, DeadLetter.id <= final), size)):
            return
        yield found
        seen = id_of(found[-1])
        left = None if left is None else left - len(found)


_NO_RAW: Final = defer(DeadLetter.raw, raiseload=True)
