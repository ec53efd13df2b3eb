"""Plans that their canary has stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from worker.database.errors import translated
from worker.database.replay_models import Replay, ReplayState

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

__all__ = ["StoppedReplay", "stopped_replays"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedReplay:
    """A plan whose first rows died again; the fields are those of `worker.database.replay_models.Replay`."""

    id: int
    stopped_because: str
    ended_at: datetime


def stopped_replays(engine: Engine, since: datetime) -> list[StoppedReplay]:
    """Return the plans that were stopped from then on, the first one first.

    Raises:
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    # What an ended plan left behind is cleared up after its end: by that time there is an index.
    lately = or_(Replay.closed_at.is_(None), Replay.closed_at >= since)
    query = (
        select(Replay.id, Replay.stopped_because, Replay.ended_at)
        .where(lately, Replay.state == ReplayState.STOPPED, Replay.ended_at >= since)
        .order_by(Replay.ended_at, Replay.id)
    )
    with translated(), engine.connect() as connection:
        return [StoppedReplay(**row._asdict()) for row in connection.execute(query)]
