"""Freezing the rows of a plan: read page by page, and written down in small transactions.

An INSERT of a million rows from a SELECT would keep every other writer of an SQLite file out for its seven seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import CursorResult, Engine, Row, Select, delete, func, insert, literal, select

from worker.database.models import DeadLetter
from worker.database.replay_models import ACTIVE, OPEN, Replay, ReplayRow, RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Connection

__all__ = ["active_plans", "freeze", "leave_to_others", "pages_of"]

_PAGE: Final = 5_000
"""Rows in one transaction: a dead letter inserted meanwhile waits for it, some ten milliseconds."""


def active_plans(connection: Connection) -> set[int]:
    """Return the plans that have not ended."""
    return set(connection.scalars(select(Replay.id).where(Replay.state.in_(ACTIVE))))


def pages_of(
    engine: Engine, chosen: Select[*tuple[Any, ...]], *, canary: int, limit: int | None
) -> Iterator[Sequence[Row[Any]]]:
    """Yield the rows in the order in which they go: the canaries, and the others by id.

    No transaction stays open meanwhile, and rows that are inserted meanwhile don't come.
    """
    with engine.connect() as connection:
        canaries = _canaries(connection, chosen, canary) if canary else []
        final = connection.scalar(select(func.max(DeadLetter.id))) or 0
    for start in range(0, len(canaries), _PAGE):
        yield canaries[start : start + _PAGE]
    first, left, seen = {row.id for row in canaries}, limit, 0
    by_id = chosen.limit(None).order_by(None).order_by(DeadLetter.id)
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        with engine.connect() as connection:
            found = connection.execute(by_id.where(DeadLetter.id > seen, DeadLetter.id <= final).limit(size)).all()
        if rows := [row for row in found if row.id not in first]:
            yield rows
        if len(found) < size:
            return
        seen, left = found[-1].id, None if left is None else left - len(found)


def _canaries(connection: Connection, chosen: Select[*tuple[Any, ...]], canary: int) -> Sequence[Row[Any]]:
    """Return the rows that go first: one of each cause by turns, the oldest; by id."""
    row = chosen.subquery()
    turn = func.row_number().over(partition_by=row.c.fingerprint, order_by=row.c.id).label("turn")
    ranked = select(row.c.id, row.c.state, row.c.fingerprint, turn).subquery()
    first = select(ranked).order_by(ranked.c.turn, ranked.c.id).limit(canary)
    return sorted(connection.execute(first), key=lambda found: int(found.id))


def freeze(engine: Engine, replay_id: int, pages: Iterable[Sequence[Row[Any]]]) -> int:
    """Write the rows of a plan down, and return how many there are."""
    total = 0
    for page in pages:
        began = time.monotonic()
        with engine.begin() as connection:
            total += _write(connection, replay_id, [row.id for row in page], position=total)
        if engine.dialect.name == "sqlite" and len(page) == _PAGE:
            time.sleep((time.monotonic() - began) / 2)  # another writer looks only now and then whether it may write
    return total


def _write(connection: Connection, replay_id: int, ids: list[int], *, position: int) -> int:
    """Write a page down in one statement, from a position on; return how many rows are still there."""
    place = (func.row_number().over(order_by=DeadLetter.id) - 1 + position).label("position")
    columns = (literal(replay_id), DeadLetter.id, place, literal(RowState.WAITING.value), DeadLetter.state)
    rows = select(*columns, DeadLetter.fingerprint, literal("")).where(DeadLetter.id.in_(ids))
    into = ["replay_id", "dead_letter_id", "position", "state", "was", "fingerprint", "comment"]
    page = insert(ReplayRow).from_select(into, rows).execution_options(preserve_rowcount=True)
    return cast("CursorResult[Any]", connection.execute(page)).rowcount


def leave_to_others(connection: Connection, replay_id: int, others: set[int]) -> int:
    """Take back the rows that other plans have, which were made meanwhile, and return how many."""
    if not others:
        return 0
    theirs = select(ReplayRow.dead_letter_id).where(ReplayRow.replay_id.in_(others), ReplayRow.state.in_(OPEN))
    mine = delete(ReplayRow).where(ReplayRow.replay_id == replay_id, ReplayRow.dead_letter_id.in_(theirs))
    return cast("CursorResult[Any]", connection.execute(mine)).rowcount
