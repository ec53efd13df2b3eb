"""Writing down that something died of a cause, in the transaction that inserts the dead letters.

Not for each of them: a process that has written a cause down leaves it alone for a minute, so that a storm of one cause
costs no more than one statement a minute. What happens within that minute is read from the dead letters themselves
(`worker.dead_letters.triage`).
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from sqlalchemy import ColumnElement, CursorResult, and_, bindparam, case, insert, literal, or_, update

from worker.database.cause_models import Cause, CauseState
from worker.database.models import UtcDateTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, Insert, Update

__all__ = ["QUIET", "RecentSightings", "Sighting", "write_sightings"]

QUIET: Final = timedelta(days=7)
"""A cause of which nothing died for so long has come back when something does."""

_LEFT_ALONE: Final = 60.0
"""Seconds for which a process does not write down again what it has written down."""

_REMEMBERED: Final = 10_000
"""Causes that a process remembers. Of more, all are forgotten, and written down once more."""


class Sighting(NamedTuple):
    """That events died of a cause."""

    fingerprint: str
    summary: str
    first: datetime
    last: datetime

    def with_death(self, at: datetime) -> Sighting:
        """Return the same with one death more."""
        return self._replace(first=min(self.first, at), last=max(self.last, at))


class RecentSightings:
    """What this process has written down within the last minute. Safe to share between threads.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def due(self, deaths: Iterable[Mapping[str, Any]]) -> list[Sighting]:
        """Return what is to be written down of some deaths, in the order in which every process locks causes.

        Args:
            deaths: The columns of the rows, as `worker.dead_letters.columns.death` returns them.
        """
        now, found = self._clock(), dict[str, Sighting]()
        for row in deaths:
            fingerprint, at = row["fingerprint"], row["failed_at"]
            if fingerprint in found:
                found[fingerprint] = found[fingerprint].with_death(at)
            elif self._until.get(fingerprint, now) <= now:
                found[fingerprint] = Sighting(fingerprint, row["summary"], at, at)
        return [found[fingerprint] for fingerprint in sorted(found)]

    def note(self, written: Iterable[Sighting]) -> None:
        """Remember what was written down, once its transaction is committed."""
        until = self._clock() + _LEFT_ALONE
        if len(self._until) >= _REMEMBERED:
            self._until = {}
        self._until.update({sighting.fingerprint: until for sighting in written})


def write_sightings(connection: Connection, sightings: Iterable[Sighting]) -> None:
    """Write sightings down; a cause that was resolved before its last death, or was quiet, has come back.

    Args:
        connection: The transaction; this is to be its last statement, so that causes are locked for a moment only.
        sightings: In the order in which `RecentSightings.due` returns them.
    """
    for fingerprint, summary, first, last in sightings:
        seen = {"seen": fingerprint, "first": first, "last": last, "quiet": last - QUIET}
        if cast("CursorResult[Any]", connection.execute(_SEEN_AGAIN, seen)).rowcount:
            continue
        known = {"fingerprint": fingerprint, "summary": summary, "first_seen_at": first, "last_seen_at": last}
        fresh = {"state": CauseState.OPEN, "owner": "", "runbook_url": ""}
        connection.execute(_unless_there(connection.dialect.name).values(known | fresh))


def _seen_again() -> Update:
    first, last, quiet = (bindparam(name, type_=UtcDateTime()) for name in ("first", "last", "quiet"))
    resolved = and_(Cause.state == CauseState.RESOLVED, Cause.changed_at < last)
    returns: ColumnElement[bool] = or_(resolved, Cause.last_seen_at < quiet)
    open_again = literal(CauseState.OPEN, Cause.state.type)
    # In this order: MySQL sets one column after the other, and reads those that are set already.
    return (
        update(Cause)
        .where(Cause.fingerprint == bindparam("seen"))
        .ordered_values(
            (Cause.returned_at, case((returns, last), else_=Cause.returned_at)),
            (Cause.state, case((returns, open_again), else_=Cause.state)),
            (Cause.first_seen_at, case((first < Cause.first_seen_at, first), else_=Cause.first_seen_at)),
            (Cause.last_seen_at, case((last > Cause.last_seen_at, last), else_=Cause.last_seen_at)),
        )
    )


_SEEN_AGAIN: Final = _seen_again()


def _unless_there(dialect: str) -> Insert:
    """Return an insertion that does nothing if another process has inserted the same cause meanwhile."""
    match dialect:
        case "sqlite":
            return insert(Cause).prefix_with("OR IGNORE")
        case "postgresql":
            from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - the other databases need it not, and it is slow

            return postgresql.insert(Cause).on_conflict_do_nothing()
        case _:
            return insert(Cause).prefix_with("IGNORE")
