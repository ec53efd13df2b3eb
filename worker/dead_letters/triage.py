"""What operators have decided about causes: acknowledged, resolved, muted, whose they are; and which have come back.

Every function here that takes an engine raises `DeadLetterStoreUnavailable` if the database is unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self

from sqlalchemy import Engine, func, select, update

from worker.database.audit_log import write_action
from worker.database.cause_models import Cause, CauseState
from worker.database.errors import translated
from worker.database.models import DeadLetter
from worker.dead_letters.cause_sightings import Sighting, write_sightings
from worker.dead_letters.statistics import summaries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from worker.dead_letters.causes import FingerprintCount

__all__ = ["NEW", "NoSuchCause", "Triage", "change", "target_of", "triage_of", "triages"]

NEW: Final = timedelta(hours=24)
"""How long a cause is new after it was first seen, or came back."""

_AT_ONCE: Final = 500
"""Causes that one statement names: SQLite takes 32,766 values, other databases more."""


class NoSuchCause(Exception):
    """Nothing has ever died of a cause of this fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """What is known and decided of one cause; the fields are those of `worker.database.cause_models.Cause`."""

    fingerprint: str
    summary: str
    first_seen_at: datetime
    last_seen_at: datetime
    returned_at: datetime | None = None
    state: CauseState = CauseState.OPEN
    changed_at: datetime | None = None
    owner: str = ""
    muted_until: datetime | None = None
    runbook_url: str = ""

    @classmethod
    def untouched(cls, count: FingerprintCount) -> Self:
        """Return that of a cause that is not written down: an older release inserted its rows."""
        return cls(
            fingerprint=count.fingerprint,
            summary=count.summary,
            first_seen_at=count.first_failed_at,
            last_seen_at=count.last_failed_at,
        )

    def with_rows(self, count: FingerprintCount) -> Self:
        """Return the same with what its rows say.

        They are exact where `worker.dead_letters.cause_sightings` leaves a minute out: the cause has come back if one
        of them died after it was resolved.
        """
        first, last = count.first_failed_at, count.last_failed_at
        seen = replace(self, first_seen_at=min(self.first_seen_at, first), last_seen_at=max(self.last_seen_at, last))
        if self.state is CauseState.RESOLVED and (self.changed_at is None or last > self.changed_at):
            return replace(seen, state=CauseState.OPEN, returned_at=last)
        return seen

    @property
    def came_back(self) -> bool:
        """Whether it has come back, after it was resolved or quiet, and no operator has decided anything since."""
        if self.state is not CauseState.OPEN or self.returned_at is None:
            return False
        return self.changed_at is None or self.returned_at > self.changed_at

    def is_new(self, now: datetime) -> bool:
        """Return whether it was first seen, or came back, within the last `NEW`; or came back, and is open since."""
        fresh = now - NEW
        returned = self.returned_at is not None and self.returned_at > fresh
        return self.first_seen_at > fresh or returned or self.came_back

    def is_muted(self, now: datetime) -> bool:
        """Return whether it is muted; that ends by itself."""
        return self.muted_until is not None and self.muted_until > now


_COLUMNS: Final = tuple(getattr(Cause, name) for name in Triage.__dataclass_fields__)


def triages(engine: Engine, fingerprints: Iterable[str]) -> dict[str, Triage]:
    """Return what is decided of some causes, by their fingerprints; those that are not written down are left out."""
    wanted = sorted(set(fingerprints))
    found: dict[str, Triage] = {}
    with translated(), engine.connect() as connection:
        for start in range(0, len(wanted), _AT_ONCE):
            some = Cause.fingerprint.in_(wanted[start : start + _AT_ONCE])
            rows = connection.execute(select(*_COLUMNS).where(some))
            found |= {row.fingerprint: Triage(**row._asdict()) for row in rows}
    return found


def triage_of(engine: Engine, fingerprint: str) -> Triage | None:
    """Return what is decided of one cause; None if it is not written down."""
    return triages(engine, [fingerprint]).get(fingerprint)


def target_of(fingerprint: str) -> str:
    """Return what the audit log calls a cause."""
    return f"cause {fingerprint}"


def change(
    engine: Engine,
    fingerprint: str,
    *,
    action: str,
    values: Mapping[str, Any],
    actor: str,
    comment: str = "",
    details: Mapping[str, Any] | None = None,
) -> Triage:
    """Change what is decided of a cause, and write it down in the audit log, in one transaction.

    Args:
        engine: The database.
        fingerprint: The cause.
        action: The name of the change in the audit log, after ``cause.``.
        values: The new values of columns of `worker.database.cause_models.Cause`; none for a note.
        actor: The operator.
        comment: The operator's comment.
        details: More for the audit log.

    Returns:
        What is decided of it now.

    Raises:
        NoSuchCause: Nothing has died of it, or it was forgotten.
    """
    with translated(), engine.begin() as connection:
        _make_known(connection, fingerprint)
        this = Cause.fingerprint == fingerprint
        if values:
            connection.execute(update(Cause).where(this).values(values))
        target = target_of(fingerprint)
        write_action(connection, actor=actor, action=f"cause.{action}", target=target, comment=comment, details=details)
        return Triage(**connection.execute(select(*_COLUMNS).where(this)).one()._asdict())


def _make_known(connection: Connection, fingerprint: str) -> None:
    """Make sure that a cause is written down, as far as its rows tell of it."""
    if connection.scalar(select(Cause.fingerprint).where(Cause.fingerprint == fingerprint)) is not None:
        return
    ends = select(func.min(DeadLetter.failed_at).label("first"), func.max(DeadLetter.failed_at).label("last"))
    row = connection.execute(ends.where(DeadLetter.fingerprint == fingerprint)).one()
    if row.first is None:
        raise NoSuchCause(f"there is no cause {fingerprint}: `dead-letters causes list` has those that there are")
    summary = summaries_of(connection, [fingerprint]).get(fingerprint, fingerprint)
    write_sightings(connection, [Sighting(fingerprint, summary, row.first, row.last)])
