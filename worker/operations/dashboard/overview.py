"""The *Overview*: what an operator asks first, in one look. What can't be asked is None, and the rest is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.continuity import look_at_continuity
from worker.accounting.documents import status_record
from worker.accounting.scheduled import Scheduled, look_at_scheduled
from worker.accounting.snapshot import Snapshot, take_snapshot
from worker.accounting.table_counts import count_by_state
from worker.accounting.worker_presence import no_worker
from worker.database.errors import DeadLetterError
from worker.dead_letters.queries import count
from worker.dead_letters.replays.attendance import attended
from worker.dead_letters.selection import Selection
from worker.operations.dashboard.findings import ExaminationResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.accounting.continuity import Continuity
    from worker.accounting.snapshot import Rates
    from worker.accounting.worker_presence import NoWorker
    from worker.dead_letters.replays.attendance import Attended
    from worker.operations.dashboard.sources import Sources
    from worker.operations.doctor.finding import Finding

__all__ = ["Overview", "look"]

_HOUR: Final = timedelta(hours=1)

_IN_WORDS: Final = {"accepted": "accepted, replays included", "uncounted": "not counted yet", "dead": "died"}
"""As it fits beside the dead letters: of those that died, most may have been delivered since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSummary:
    """Whether what was accepted is somewhere, or has ended, and the equation as text."""

    balanced: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One look at the whole.

    Attributes:
        snapshot: The queue.
        rates: How fast it goes; None also on the first look.
        states: The rows of the dead-letter table by state.
        died: How many died within the last hour.
        scheduled: Why messages are scheduled; None if Redis can't be asked.
        attended: The replays that have not ended; None if Redis or the database can't be asked.
        continuity: Whether Redis has the data that it had; None if Redis or the database can't be asked.
        found: What the doctor found last.
        redis_problem: Why Redis can't be asked; '' if it was.
        table_problem: Why the database can't be asked; '' if it was.
    """

    snapshot: Snapshot | None
    rates: Rates | None
    states: Mapping[str, int] | None
    died: int | None
    scheduled: Scheduled | None = None
    attended: Attended | None = None
    continuity: Continuity | None = None
    found: ExaminationResult = field(default_factory=ExaminationResult)
    redis_problem: str = ""
    table_problem: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether both could be asked."""
        return not (self.redis_problem or self.table_problem)

    @property
    def no_worker(self) -> NoWorker | None:
        """What is to be said if no worker is alive although there is, or was, something to do."""
        return None if self.snapshot is None else no_worker(self.snapshot)

    @property
    def banners(self) -> list[Finding]:
        """What the doctor found and the page does not show otherwise."""
        shown = {
            "broker": self.redis_problem,
            "database": self.table_problem,
            "database schema": self.table_problem,
            "workers": self.no_worker,
            "replays' worker": self.attended is not None and self.attended.problem,
        }
        return self.found.banners(but={check for check, is_shown in shown.items() if is_shown})

    @property
    def oldest_age(self) -> timedelta | None:
        """How long the oldest event has been waiting."""
        if self.snapshot is None or self.snapshot.oldest is None:
            return None
        return max(self.snapshot.at - self.snapshot.oldest, timedelta())

    @property
    def drained_in(self) -> timedelta | None:
        """When the queue will be empty, if it will."""
        return None if self.snapshot is None or self.rates is None else self.rates.drained_in(self.snapshot)

    @property
    def books(self) -> BalanceSummary | None:
        """Whether the books balance; None while Redis can't be asked."""
        if self.snapshot is None:
            return None
        balance = self.snapshot.balance
        text = balance.sides(_IN_WORDS, brief=True)
        if self.continuity is not None and self.continuity.is_lost:
            more = f"{self.continuity.summary()}; ask aquilax-feedback reconcile"
            return BalanceSummary(balanced=False, summary=f"{text}; but Redis has lost data. {more}")
        if balance.missing > 0:
            return BalanceSummary(
                balanced=False, summary=f"{text} + {balance.missing:,} missing: ask aquilax-feedback reconcile"
            )
        if balance.missing < 0:
            more = f"{-balance.missing:,} more than were counted as accepted so far"
            return BalanceSummary(balanced=True, summary=f"{text}: nothing is missing; {more}")
        return BalanceSummary(balanced=True, summary=f"{text}: nothing is missing")

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it: what `aquilax-feedback status --json` says, and what died."""
        status = status_record(
            self.snapshot,
            self.rates,
            self.states,
            redis_problem=self.redis_problem,
            table_problem=self.table_problem,
            scheduled=self.scheduled,
            replays=None if self.attended is None else self.attended.to_record(),
            continuity=self.continuity,
        )
        return status | {"dead_in_the_last_hour": self.died, "doctor": self.found.to_record()}


def look(sources: Sources) -> Overview:
    """Look at Redis and at the database; either may be unavailable."""
    snapshot, rates, scheduled, states, died, attends, continuity = None, None, None, None, None, None, None
    redis_problem = table_problem = ""
    try:
        snapshot = take_snapshot(sources.client())
        rates = sources.pace.after(snapshot)
        scheduled = look_at_scheduled(sources.client())
    except redis.RedisError as error:
        redis_problem = sources.redis_problem(error)
    try:
        engine = sources.engine()
        states = count_by_state(engine)
        died = count(engine, Selection(since=datetime.now(UTC) - _HOUR).clause())
        if not redis_problem:
            attends = attended(engine, sources.client())
            continuity = look_at_continuity(sources.client(), engine)
    except redis.RedisError as error:
        redis_problem = sources.redis_problem(error)
    except DeadLetterError as error:
        table_problem = sources.database_problem(error)
    return Overview(
        snapshot=snapshot,
        rates=rates,
        states=states,
        died=died,
        scheduled=scheduled,
        attended=attends,
        continuity=continuity,
        found=sources.doctor.found(),
        redis_problem=redis_problem,
        table_problem=table_problem,
    )
