"""What brings plans forward, with its connections: a worker's task, a worker's watch and the command line have one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self, cast

from sqlalchemy import CursorResult, and_, or_, select, update

from worker.clients.redis.clock import RedisClock
from worker.clients.redis.connections import redis_partitions
from worker.database.engine import connect
from worker.database.errors import translated
from worker.database.replay_models import Replay, ReplayState
from worker.dead_letters.replays.queue import say_watching, workers_watch
from worker.dead_letters.replays.step import Step, advance

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.clients.redis.partitions import Partitions

__all__ = ["Advancer", "overdue"]

_CONNECTIONS: Final = 4
"""Plans that are at work at once are few."""


_GRACE: Final = timedelta(seconds=3)
"""How late a step may be before it counts as lost."""


class Advancer:
    """Advances plans; safe for many threads, and not across a fork.

    Args:
        engine: The database.
        partitions: The broker's Redis.
        lease: The lease on a step.
    """

    def __init__(self, engine: Engine, partitions: Partitions, *, lease: timedelta) -> None:
        self._engine = engine
        self._partitions = partitions
        self._lease = lease
        self.now: Final = RedisClock(partitions.home).now

    @classmethod
    def connect(
        cls, database: str, broker: str, *, sentinel_master: str | None, partitions: int | None, lease: timedelta
    ) -> Self:
        """Return an advancer that connects when it is first used.

        Args:
            database: The URL of the database.
            broker: The URL of the broker.
            sentinel_master: The master's name, if that URL names its sentinels.
            partitions: How many partitions the queue has; if None 16 on a cluster, and 1 on one Redis.
            lease: See `Advancer`.

        Raises:
            DatabaseUnusable: The database's URL can't be read, or its driver is not installed.
        """
        clients = redis_partitions(
            broker, sentinel_master=sentinel_master, partitions=partitions, connections=_CONNECTIONS
        )
        return cls(connect(database, pool_size=_CONNECTIONS), clients, lease=lease)

    def close(self) -> None:
        """Close every connection."""
        self._partitions.close()
        self._engine.dispose()

    def advance(self, replay_id: int, step_number: int) -> Step:
        """Bring a plan one step further; see `worker.dead_letters.replays.step.advance`."""
        return advance(
            self._engine, self._partitions, replay_id, step_number=step_number, now=self.now, lease=self._lease
        )

    def overdue(self, *, only: int | None = None) -> list[tuple[int, int]]:
        """Return each plan whose next step is overdue, with the number of that step; see `overdue`."""
        return overdue(self._engine, now=self.now(), only=only)

    def say_watching(self) -> None:
        """Let others know for some seconds that a worker looks after plans."""
        say_watching(self._partitions.home)

    def workers_watch(self) -> bool:
        """Return whether a worker looks after plans."""
        return workers_watch(self._partitions.home)

    def moment(self, after: timedelta) -> datetime:
        """Return the time in a while, by the clock that all share."""
        return self.now() + after


def overdue(engine: Engine, *, now: datetime, only: int | None = None) -> list[tuple[int, int]]:
    """Return each plan whose next step is overdue, with that step's number; of two concurrent calls one gets it.

    Its message was lost or purged, or its worker killed.

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
