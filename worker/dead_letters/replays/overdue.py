"""Plans whose next step is overdue: its message was lost or purged, or its worker killed. A worker takes them up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import CursorResult, and_, or_, select, update

from worker.database.errors import translated
from worker.database.replay_models import Replay, ReplayState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

__all__ = ["overdue"]

_GRACE: Final = timedelta(seconds=3)
"""How late a step may be before it counts as lost."""


def overdue(engine: Engine, *, now: datetime, only: int | None = None) -> list[tuple[int, int]]:
    """Return each plan whose next step is overdue, with that step's number; of two concurrent calls one gets it.

    Args:
        engine: The database.
        now: The time, by the clock that all share.
        only: Look at this plan only.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    late = or_(Replay.due_at.is_(None), Replay.due_at < now - _GRACE)
    unleased = or_(Replay.leased_until.is_(None), Replay.leased_until < now)
    idle = and_(Replay.closed_at.is_(None), Replay.state != ReplayState.PAUSED, late, unleased)
    query = select(Replay.id, Replay.step_number).where(idle).order_by(Replay.id)
    with translated(), engine.connect() as connection:
        found = connection.execute(query if only is None else query.where(Replay.id == only)).all()
    return [(row.id, row.step_number) for row in found if _is_mine(engine, row.id, row.step_number, now)]


def _is_mine(engine: Engine, replay_id: int, step_number: int, now: datetime) -> bool:
    """Let it be due now: who looks a moment later finds it not late."""
    late = or_(Replay.due_at.is_(None), Replay.due_at < now - _GRACE)
    with translated(), engine.begin() as connection:
        same = (Replay.id == replay_id, Replay.step_number == step_number, late)
        changed = connection.execute(update(Replay).where(*same).values(due_at=now))
        return bool(cast("CursorResult[Any]", changed).rowcount)
