"""One look at everything that may be told of: Redis, the dead letters and the replays. Reading alone; no decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.accounting.continuity import Continuity, look_at_continuity
from worker.accounting.snapshot import take_partial_snapshot
from worker.database.errors import DeadLetterError
from worker.dead_letters.new_causes import NewCause, new_causes
from worker.dead_letters.replays.stopped import StoppedReplay, stopped_replays
from worker.delivery.org_holds import OrgHold, read_org_holds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["OVERLAP", "Observation", "observe"]

OVERLAP: Final = timedelta(hours=1)
"""How far back each look reaches behind the last one: a row may be committed later than it says, and clocks differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One moment.

    Attributes:
        snapshot: The queue.
        org_holds: Of single orgs, and of the orgs of a key.
        continuity: Whether Redis has the data that it had; None if the database can't be asked.
        causes: Causes whose first dead letter is recent, but for the known ones; None likewise.
        replays: Replays that their canary stopped recently; None likewise.
    """

    snapshot: Snapshot
    org_holds: tuple[OrgHold, ...] = ()
    continuity: Continuity | None = None
    causes: tuple[NewCause, ...] | None = None
    replays: tuple[StoppedReplay, ...] | None = None

    @property
    def at(self) -> datetime:
        """When, by Redis' clock."""
        return self.snapshot.at


def observe(
    partitions: Partitions,
    database: Callable[[], AbstractContextManager[Engine]],
    *,
    known_until: datetime | None,
    known_causes: Collection[str] = (),
) -> Observation:
    """Look at everything. What a database that is unavailable would say is left out.

    Args:
        partitions: Redis.
        database: Opens the database.
        known_until: When it was last looked at; None if never.
        known_causes: Fingerprints that were found before.

    Raises:
        redis.RedisError: The first partition can't be asked.
    """
    snapshot = take_partial_snapshot(partitions)
    if snapshot.parts and snapshot.parts[0].snapshot is None and snapshot.parts[0].error is not None:
        raise snapshot.parts[0].error  # which has the hold, and what is known
    org_holds = read_org_holds(partitions.home)
    since = (snapshot.at if known_until is None else known_until) - OVERLAP
    try:
        with database() as engine:
            continuity = look_at_continuity(partitions, engine, away=snapshot.unavailable)
            return Observation(
                snapshot=snapshot,
                org_holds=org_holds,
                continuity=continuity,
                causes=tuple(new_causes(engine, since, known=known_causes)),
                replays=tuple(stopped_replays(engine, since)),
            )
    except DeadLetterError:
        return Observation(snapshot=snapshot, org_holds=org_holds)
