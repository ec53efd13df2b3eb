"""What brings plans forward, with its connections: a worker's task, a worker's watch and the command line have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from worker.clients.redis.clock import RedisClock
from worker.clients.redis.connections import redis_client
from worker.database.engine import connect
from worker.dead_letters.replays.overdue import overdue
from worker.dead_letters.replays.queue import say_watching, workers_watch
from worker.dead_letters.replays.step import Step, advance

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import redis
    from sqlalchemy import Engine

__all__ = ["Advancer"]

_CONNECTIONS: Final = 4
"""Plans that are at work at once are few."""


class Advancer:
    """Advances plans; safe for many threads, and not across a fork.

    Args:
        engine: The database.
        client: The broker's Redis.
        lease: The lease on a step.
    """

    def __init__(self, engine: Engine, client: redis.Redis, *, lease: timedelta) -> None:
        self._engine = engine
        self._client = client
        self._lease = lease
        self.now: Final = RedisClock(client).now

    @classmethod
    def connect(cls, database: str, broker: str, *, sentinel_master: str | None, lease: timedelta) -> Self:
        """Return an advancer that connects when it is first used.

        Args:
            database: The URL of the database.
            broker: The URL of the broker.
            sentinel_master: The master's name, if that URL names its sentinels.
            lease: See `Advancer`.

        Raises:
            DatabaseUnusable: The database's URL can't be read, or its driver is not installed.
        """
        client = redis_client(broker, sentinel_master=sentinel_master, connections=_CONNECTIONS)
        return cls(connect(database, pool_size=_CONNECTIONS), client, lease=lease)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()
        self._engine.dispose()

    def advance(self, replay_id: int, step_number: int) -> Step:
        """Bring a plan one step further; see `worker.dead_letters.replays.step.advance`."""
        return advance(self._engine, self._client, replay_id, step_number=step_number, now=self.now, lease=self._lease)

    def overdue(self, *, only: int | None = None) -> list[tuple[int, int]]:
        """Return each plan whose next step is overdue, with the number of that step; see `overdue.py`."""
        return overdue(self._engine, now=self.now(), only=only)

    def say_watching(self) -> None:
        """Let others know for some seconds that a worker looks after plans."""
        say_watching(self._client)

    def workers_watch(self) -> bool:
        """Return whether a worker looks after plans."""
        return workers_watch(self._client)

    def moment(self, after: timedelta) -> datetime:
        """Return the time in a while, by the clock that all share."""
        return self.now() + after
