"""Causes as operators triage them: which there are, what is new, and what is decided of each.

The command line, the pages and the API read causes through this module, and change them through
`worker.operations.cause_decisions`. What takes an engine raises `DeadLetterStoreUnavailable` if the database is
unavailable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from math import sqrt
from typing import TYPE_CHECKING, Any, Final

from worker.database.audit_log import actions
from worker.database.cause_models import CauseState
from worker.database.models import State
from worker.dead_letters.causes import Causes, FingerprintCount, causes_over_time
from worker.dead_letters.queries import count
from worker.dead_letters.selection import Selection
from worker.dead_letters.statistics import first_deaths
from worker.dead_letters.triage import NoSuchCause, Triage, target_of, triage_of, triages
from worker.operations.runbook import runbook_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from worker.database.audit_log import Action

__all__ = ["CauseDetails", "Show", "TriagedCause", "TriagedCauses", "details_of", "record_of", "trend", "triaged"]

_HISTORY: Final = 100
"""Changes of one cause that are shown, the latest first."""


_CHANCE: Final = 2
"""Standard deviations of the difference of two numbers of independent deaths, within which it is no trend."""


class Show(StrEnum):
    """Which causes a list has. Only the last two have muted ones."""

    UNMUTED = "unmuted"
    NEW = "new"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    MUTED = "muted"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriagedCause:
    """One cause: what died of it, and what is decided.

    Attributes:
        count: What died of it, of the rows that were chosen.
        triage: What is decided, and since when it is known.
        now: For what is new and muted.
    """

    count: FingerprintCount
    triage: Triage
    now: datetime

    @property
    def is_new(self) -> bool:
        """Whether it was first seen, or came back, within the last day."""
        return self.triage.is_new(self.now)

    @property
    def is_muted(self) -> bool:
        """Whether it is muted."""
        return self.triage.is_muted(self.now)

    @property
    def trend(self) -> str:
        """How the last day compares with the one before it, as text."""
        return trend(self.count.last_day, self.count.day_before)

    @property
    def rank(self) -> int:
        """Its place in a list: what is new and open, what is open, then the rest."""
        if self.is_muted:
            return 4
        by_state = {CauseState.OPEN: 0 if self.is_new else 1, CauseState.ACKNOWLEDGED: 2, CauseState.RESOLVED: 3}
        return by_state[self.triage.state]

    def fits(self, show: Show) -> bool:
        """Return whether a list has it."""
        match show:
            case Show.ANY:
                return True
            case Show.MUTED:
                return self.is_muted
            case Show.UNMUTED:
                return not self.is_muted
            case Show.NEW:
                return self.is_new and not self.is_muted
            case _:
                return self.triage.state is _STATES[show] and not self.is_muted

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        days = {"last_day": self.count.last_day, "day_before": self.count.day_before}
        return self.count.to_record() | {"org": self.count.org} | days | record_of(self.triage, self.now)


_STATES: Final = {
    Show.UNACKNOWLEDGED: CauseState.OPEN,
    Show.ACKNOWLEDGED: CauseState.ACKNOWLEDGED,
    Show.RESOLVED: CauseState.RESOLVED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TriagedCauses:
    """All causes of some rows.

    Attributes:
        over_time: How many died of each, and when; of all, also of those that the list leaves out.
        causes: Those that the list has: the new ones first, then the unacknowledged ones, then the rest; among equals
            the most frequent one first.
        numbers: How many causes each list has.
    """

    over_time: Causes
    causes: tuple[TriagedCause, ...]
    numbers: Mapping[Show, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseDetails:
    """All that is known of one cause.

    Attributes:
        cause: What died of it and is there still, of any state; None if every row was pruned.
        triage: What is decided.
        over_time: The times of the chart.
        dead: How many rows are dead.
        history: What operators did with it, the latest first.
        now: For what is new and muted.
    """

    cause: FingerprintCount | None
    triage: Triage
    over_time: Causes
    dead: int
    history: tuple[Action, ...]
    now: datetime

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        history = [
            {"at": done.at.isoformat(), "actor": done.actor, "action": done.action, "comment": done.comment}
            | {"details": dict(done.details)}
            for done in self.history
        ]
        known = record_of(self.triage, self.now)
        if self.cause is not None:
            known = TriagedCause(count=self.cause, triage=self.triage, now=self.now).to_record()
        return known | {"rows": self.cause.rows if self.cause else 0, "dead": self.dead, "history": history}


def triaged(engine: Engine, selection: Selection, *, show: Show = Show.UNMUTED, now: datetime) -> TriagedCauses:
    """Return what the rows of a selection died of, and what is decided of each cause.

    Args:
        engine: The database.
        selection: The rows.
        show: Which causes are wanted.
        now: For what is new and muted.
    """
    over_time = causes_over_time(engine, selection, now=now)
    known = triages(engine, (cause.fingerprint for cause in over_time.causes))
    every = _with_first_deaths(
        engine, [_joined(cause, known.get(cause.fingerprint), now) for cause in over_time.causes]
    )
    every.sort(key=lambda cause: cause.rank)  # stable: among equals the most frequent one stays first
    numbers = {each: sum(cause.fits(each) for cause in every) for each in Show}
    return TriagedCauses(
        over_time=over_time, causes=tuple(cause for cause in every if cause.fits(show)), numbers=numbers
    )


def _with_first_deaths(engine: Engine, causes: list[TriagedCause]) -> list[TriagedCause]:
    """The same, with the first row of what seems new, whatever rows were chosen.

    What is written down may be younger than it: an older release inserts rows without writing their causes down.
    """
    firsts = first_deaths(engine, (cause.triage.fingerprint for cause in causes if cause.is_new))
    return [
        replace(each, triage=replace(each.triage, first_seen_at=min(each.triage.first_seen_at, first)))
        if (first := firsts.get(each.triage.fingerprint))
        else each
        for each in causes
    ]


def _joined(counted: FingerprintCount, known: Triage | None, now: datetime) -> TriagedCause:
    triage = Triage.untouched(counted) if known is None else known.with_rows(counted)
    return TriagedCause(count=counted, triage=triage, now=now)


def details_of(engine: Engine, fingerprint: str, *, now: datetime) -> CauseDetails:
    """Return all that is known of a cause.

    Raises:
        NoSuchCause: Nothing has died of it, or it was forgotten.
    """
    over_time = causes_over_time(engine, Selection(fingerprints=(fingerprint,)), now=now)
    counted, known = next(iter(over_time.causes), None), triage_of(engine, fingerprint)
    if counted is not None:
        known = _joined(counted, known, now).triage
    if known is None:
        raise NoSuchCause(f"there is no cause {fingerprint}")
    dead = Selection(fingerprints=(fingerprint,), states=(State.DEAD,))
    return CauseDetails(
        cause=counted,
        triage=known,
        over_time=over_time,
        dead=count(engine, dead.clause()),
        history=tuple(actions(engine, limit=_HISTORY, target=target_of(fingerprint))),
        now=now,
    )


def trend(last_day: int, day_before: int) -> str:
    """Return how many died within the last day, beside the one before it."""
    if last_day == day_before:
        return f"steady: {last_day:,} within 24 hours, as before" if last_day else "none within 48 hours"
    both = f"{last_day:,} within 24 hours, {day_before:,} in the 24 before"
    if abs(last_day - day_before) <= _CHANCE * sqrt(last_day + day_before):
        return f"steady: {both}" if last_day and day_before else both
    return f"{'rising' if last_day > day_before else 'falling'}: {both}"


def record_of(triage: Triage, now: datetime) -> dict[str, Any]:
    """Return what is decided of a cause as JSON can carry it."""
    return {
        "fingerprint": triage.fingerprint,
        "summary": triage.summary,
        "state": triage.state.value,
        "is_new": triage.is_new(now),
        "came_back": triage.came_back,
        "first_seen_at": triage.first_seen_at.isoformat(),
        "last_seen_at": triage.last_seen_at.isoformat(),
        "returned_at": _iso(triage.returned_at),
        "owner": triage.owner or None,
        "muted_until": _iso(triage.muted_until) if triage.is_muted(now) else None,
        "runbook": runbook_of(triage.summary),
        "runbook_url": triage.runbook_url or None,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
