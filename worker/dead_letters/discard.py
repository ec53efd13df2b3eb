"""Discarding: an operator's decision that some events shall not be delivered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, and_, update

from worker.database.audit_log import record_action
from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.dead_letters.queries import stream
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["discard"]


def discard(
    engine: Engine,
    which: ColumnElement[bool],
    *,
    comment: str,
    actor: str,
    limit: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Discard rows, oldest first, and return how many. The rows stay in the table.

    It goes in steps, so that workers that insert meanwhile don't wait; each step holds, whatever becomes of the next.

    Args:
        engine: The database.
        which: The rows.
        comment: The reason; it is kept with each row.
        actor: The operator; it is written down with how many rows it was.
        limit: How many at most.
        progress: Called with the number of rows discarded after each step.

    Raises:
        DeadLetterStoreUnavailable: The database is unavailable; run it again later.
    """
    values = {"state": State.DISCARDED, "comment": clean(comment), "resolved_at": datetime.now(UTC)}
    discarded = 0
    for rows in stream(engine, which, limit=limit):
        still = and_(which, DeadLetter.id.in_([row.id for row in rows]))
        with translated(), engine.begin() as connection:
            changed = connection.execute(update(DeadLetter).where(still).values(values))
            discarded += cast("CursorResult[Any]", changed).rowcount
        progress(discarded)
    if discarded:
        details = {"rows": discarded}
        record_action(engine, actor=actor, action="discard", target="dead letters", comment=comment, details=details)
    return discarded
