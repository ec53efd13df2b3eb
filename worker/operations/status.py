"""How it goes: one look at Redis and at the database, for the command line and the Overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import redis

from worker.accounting.continuity import look_at_continuity
from worker.accounting.documents import status_record
from worker.accounting.scheduled import look_at_scheduled
from worker.accounting.strays import find_strays
from worker.accounting.table_counts import count_by_state
from worker.database.errors import DeadLetterError
from worker.dead_letters.queries import count
from worker.dead_letters.replays.attendance import attended
from worker.dead_letters.selection import Selection
from worker.operations.broker import broker_outage
from worker.operations.database import database_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine

    from worker.accounting.continuity import Continuity
    from worker.accounting.scheduled import Scheduled
    from worker.accounting.snapshot import Rates, Snapshot
    from worker.accounting.strays import Strays
    from worker.dead_letters.replays.attendance import Attended
    from worker.settings import Settings

__all__ = ["Status"]

_HOUR: Final = timedelta(hours=1)


@dataclass(kw_only=True)
class Status:
    """What was seen; None where Redis, or the database, could not be asked.

    Attributes:
        snapshot: The queue.
        rates: How fast it goes; None also on a first look.
        scheduled: Why messages are scheduled.
        strays: The lists with feedback that no worker reads; None also if not looked for.
        states: The rows of the dead-letter table by state.
        died: How many died within the last hour.
        attended: The replays that have not ended.
        continuity: Whether Redis has the data that it had.
        redis_problem: Why Redis can't be asked; '' if it was.
        table_problem: Why the database can't be asked; '' if it was.
    """

    snapshot: Snapshot | None = None
    rates: Rates | None = None
    scheduled: Scheduled | None = None
    strays: Strays | None = None
    states: Mapping[str, int] | None = None
    died: int | None = None
    attended: Attended | None = None
    continuity: Continuity | None = None
    redis_problem: str = ""
    table_problem: str = ""

    @classmethod
    def take(
        cls,
        settings: Settings,
        client: redis.Redis,
        *,
        queue: Callable[[], tuple[Snapshot, Rates | None]],
        database: Callable[[], Engine],
        strays_within: float = 0,
    ) -> Self:
        """Look at Redis and at the database; either may be unavailable.

        Args:
            settings: Where they are, to be named in a problem.
            client: Redis.
            queue: Takes the snapshot, and says how fast it goes.
            database: Opens the database.
            strays_within: Seconds for looking through the names of all keys; not done if 0.
        """
        status = cls()
        try:
            status.snapshot, status.rates = queue()
            status.scheduled = look_at_scheduled(client)
            status.strays = find_strays(client, within=strays_within) if strays_within else None
        except redis.RedisError as error:
            status.redis_problem = broker_outage(settings, error)
        try:
            status._look_at_table(database(), client)
        except redis.RedisError as error:
            status.redis_problem = broker_outage(settings, error)
        except DeadLetterError as error:
            status.table_problem = database_outage(settings, error)
        return status

    def _look_at_table(self, engine: Engine, client: redis.Redis) -> None:
        self.states = count_by_state(engine)
        self.died = count(engine, Selection(since=datetime.now(UTC) - _HOUR).clause())
        if not self.redis_problem:
            self.attended = attended(engine, client)
            self.continuity = look_at_continuity(client, engine)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return status_record(
            self.snapshot,
            self.rates,
            self.states,
            redis_problem=self.redis_problem,
            table_problem=self.table_problem,
            scheduled=self.scheduled,
            replays=None if self.attended is None else self.attended.to_record(),
            strays=self.strays,
            continuity=self.continuity,
        )
