"""How it goes: one look at Redis and at the database, for the command line and the Overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

import redis

from worker.accounting.continuity import look_at_continuity
from worker.accounting.documents import status_record
from worker.accounting.held_orgs import look_at_held_orgs
from worker.accounting.scheduled import look_at_scheduled
from worker.accounting.strays import find_strays
from worker.accounting.table_counts import count_by_state
from worker.database.errors import DeadLetterError
from worker.dead_letters.queries import count
from worker.dead_letters.replays.attendance import attended
from worker.dead_letters.selection import Selection
from worker.observability.redaction import redaction_of
from worker.operations.broker import broker_outage
from worker.operations.database import database_outage
from worker.operations.partitions import partition_places, partition_statuses, partitions_outage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine

    from worker.accounting.continuity import Continuity
    from worker.accounting.held_orgs import HeldOrgs
    from worker.accounting.scheduled import Scheduled
    from worker.accounting.snapshot import Rates, Snapshot
    from worker.accounting.strays import Strays
    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.replays.attendance import Attended
    from worker.operations.partitions import PartitionStatus
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
        redis_problem: Why Redis, or some of its partitions, can't be asked; '' if all were.
        table_problem: Why the database can't be asked; '' if it was.
        partitions: How each of several partitions stands; empty if there is only one.
        held_orgs: Which orgs are held; None if the first partition can't be asked.
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
    partitions: tuple[PartitionStatus, ...] = ()
    held_orgs: HeldOrgs | None = None

    @classmethod
    def take(
        cls,
        settings: Settings,
        partitions: Partitions,
        *,
        queue: Callable[[], tuple[Snapshot, Rates | None]],
        database: Callable[[], Engine],
        strays_within: float = 0,
    ) -> Self:
        """Look at Redis and at the database; either may be unavailable.

        Args:
            settings: Where they are, to be named in a problem.
            partitions: Redis.
            queue: Takes the snapshot, also where some partitions can't be asked, and says how fast it goes.
            database: Opens the database.
            strays_within: Seconds for looking through the names of all keys; not done if 0.
        """
        status = cls()
        try:
            status.snapshot, status.rates = queue()
            status._look_at_redis(settings, status.snapshot, partitions, strays_within)
        except redis.RedisError as error:
            status.redis_problem = broker_outage(settings, error)
        try:
            status._look_at_table(database(), partitions)
        except redis.RedisError as error:
            status.redis_problem = broker_outage(settings, error)
        except DeadLetterError as error:
            status.table_problem = database_outage(settings, error)
        return status

    def _look_at_redis(self, settings: Settings, now: Snapshot, partitions: Partitions, strays_within: float) -> None:
        self.partitions = partition_statuses(now, partition_places(partitions), redaction_of(settings))
        if outage := partitions_outage(now):
            self.redis_problem = broker_outage(settings, redis.ConnectionError(outage))
        asked = [part.number for part in now.parts if part.snapshot is not None] or None
        self.scheduled = look_at_scheduled(partitions, only=asked)
        if asked is None or 0 in asked:
            self.held_orgs = look_at_held_orgs(partitions, only=asked)
        if strays_within and now.is_whole:
            self.strays = find_strays(partitions, within=strays_within)

    def _look_at_table(self, engine: Engine, partitions: Partitions) -> None:
        self.states = count_by_state(engine)
        self.died = count(engine, Selection(since=datetime.now(UTC) - _HOUR).clause())
        now = self.snapshot
        if now is not None and (not now.parts or now.parts[0].snapshot is not None):
            self.attended = attended(engine, partitions.home)
            self.continuity = look_at_continuity(partitions, engine, away=now.unavailable)

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
            partitions=[row.to_record() for row in self.partitions],
            held_orgs=None if self.held_orgs is None else self.held_orgs.to_record(),
        )
