"""Discarding: an operator's decision that some events shall not be delivered."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import ColumnElement, CursorResult, Engine, and_, update

from worker.database.audit_log import amend_action, write_action
from worker.database.errors import translated
from worker.database.models import DeadLetter, State
from worker.dead_letters.lookups import by_no_index
from worker.dead_letters.queries import stream_ids
from worker.policy.dead_letter import clean

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["discard"]

_CHUNK: Final = 500
"""Rows in one transaction: a dead letter inserted meanwhile waits for it, some ten milliseconds."""

_SHARE: Final = 0.5
"""For each second of changing rows, so many are left to the others: a writer of SQLite looks only now and then whether
it may write."""


def discard(
    engine: Engine,
    which: ColumnElement[bool],
    *,
    comment: str,
    actor: str,
    limit: int | None = None,
    stop: Event | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Discard rows, oldest first, and return how many. The rows stay in the table.

    It goes in steps, so that workers that insert meanwhile don't wait; each step holds, whatever becomes of the next,
    and the audit log has as many rows as were discarded: both are written in one transaction.

    Args:
        engine: The database.
        which: The rows.
        comment: The reason; it is kept with each row.
        actor: The operator; it is written down with how many rows it was.
        limit: How many at most.
        stop: Set it to end after the step at hand.
        progress: Called with the number of rows discarded after each step.

    Raises:
        DeadLetterStoreUnavailable: The database is unavailable; run it again later.
    """
    values = {"state": State.DISCARDED, "comment": clean(comment), "resolved_at": datetime.now(UTC)}
    action = {"actor": actor, "action": "discard", "target": "dead letters", "comment": comment}
    discarded, noted, stop = 0, None, stop or Event()
    for ids in stream_ids(engine, which, limit=limit, page=_CHUNK):
        if stop.is_set():
            break
        began, still = time.monotonic(), and_(DeadLetter.id.in_(ids), by_no_index(which))
        with translated(), engine.begin() as connection:
            changed = connection.execute(update(DeadLetter).where(still).values(values))
            discarded += cast("CursorResult[Any]", changed).rowcount
            if noted is not None:
                amend_action(connection, noted, details={"rows": discarded})
            elif discarded:
                noted = write_action(connection, **action, details={"rows": discarded})
        progress(discarded)
        if len(ids) == _CHUNK:
            stop.wait((time.monotonic() - began) * _SHARE)
    return discarded
