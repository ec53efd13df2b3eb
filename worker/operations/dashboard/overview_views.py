"""The *Overview*, and its buttons: hold and resume."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.snapshot import Snapshot, take_partial_snapshot
from worker.accounting.worker_presence import no_worker
from worker.delivery.hold import Hold
from worker.delivery.org_holds import read_org_holds
from worker.operations.broker import broker_outage
from worker.operations.dashboard.findings import ExaminationResult
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.history_views import HistoryView, find_history, read_asked
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.hold import HoldControl, fix_of, fix_of_org, next_probe, what_resume_does
from worker.operations.partitions import shown_first
from worker.operations.status import Status
from worker.policy.parsing import read_text

if TYPE_CHECKING:
    from worker.accounting.snapshot import Rates
    from worker.accounting.worker_presence import NoWorker
    from worker.operations.dashboard.history_views import AskedHistory, FoundHistory
    from worker.operations.dashboard.sources import Sources
    from worker.operations.doctor.finding import Finding

__all__ = ["HoldPage", "Overview", "OverviewPage", "ResumePage", "hold", "is_held", "look", "read_org", "resume"]

_UNRECORDED: Final = "?unrecorded=1"

_IN_WORDS: Final = {"accepted": "accepted, replays included", "uncounted": "not counted yet", "dead": "died"}
"""As it fits beside the dead letters: of those that died, most may have been delivered since."""


class OverviewPage(HtmlHandler):
    """How it goes."""

    tab = "overview"

    async def get(self) -> None:
        """Show it; with status 503 if something is unavailable, and with what is not."""
        asked = read_asked(self)
        overview, history = await self.look(_look_with_history, self.sources, None if _moves_often(self) else asked)
        if not overview.is_whole:
            self.set_status(503)
        unrecorded = bool(self.get_query_argument("unrecorded", ""))
        self.render(
            "feedback_overview.html",
            overview=overview,
            unrecorded=unrecorded,
            asked=asked,
            history=None if history is None else HistoryView(self, asked, history),
            fix_of=fix_of,
            fix_of_org=fix_of_org,
            next_probe=next_probe,
            shown_first=shown_first,
            what_resume_does=what_resume_does,
        )


class HoldPage(HtmlHandler):
    """Hold by hand."""

    async def post(self) -> None:
        """Hold everything, or one org, and show the overview again."""
        self.may_change()
        self.sent("comment", "org")
        org = self.body("org")
        recorded = await self.look(
            hold,
            self.sources,
            comment=self.read_comment(self.body("comment")),
            actor=self.actor,
            org=read_org(org) if org else None,
        )
        self.see("feedback-overview", query="" if recorded else _UNRECORDED)


class ResumePage(HtmlHandler):
    """End the hold by hand, or where there is none whatever hold there is."""

    async def post(self) -> None:
        """Resume, and show the overview again."""
        self.may_change()
        self.sent("comment", "scope")
        comment, scope = self.read_comment(self.body("comment"), needed=False), self.body("scope") or None
        if scope is None and self.get_body_arguments("scope"):
            raise RequestRefused(400, "scope: expected the org or the key that is held")
        recorded = await self.look(resume, self.sources, comment=comment, actor=self.actor, scope=scope)
        self.see("feedback-overview", query=_UNRECORDED if recorded is False else "")


def read_org(text: str, *, field: str = "org") -> str:
    """Return the org, or the key's name, that is meant. Raises `RequestRefused` if it can't be one."""
    try:
        return read_text(text)
    except ValueError as error:
        raise RequestRefused(400, f"{field}: expected {error}") from None


def _moves_often(page: OverviewPage) -> bool:
    """Whether the page's own script asks for what moves every two seconds, to which the charts don't belong."""
    return page.request.headers.get("X-Feedback-Live") == "2"


def _look_with_history(sources: Sources, asked: AskedHistory | None) -> tuple[Overview, FoundHistory | None]:
    """Look at the whole, and at the history if it is asked for and Redis can be asked."""
    overview = look(sources)
    if asked is None or overview.snapshot is None:
        return overview, None
    try:
        return overview, find_history(sources, asked)
    except redis.RedisError as error:
        overview.redis_problem = overview.redis_problem or broker_outage(sources.settings, error)
        return overview, None


def hold(sources: Sources, *, comment: str, actor: str, org: str | None = None) -> bool:
    """Hold all workers, or one org, and return whether the audit log has it."""
    control = _control(sources, actor)
    change = control.hold(comment) if org is None else control.hold_org(org, comment)
    return change.unrecorded is None


def resume(sources: Sources, *, comment: str, actor: str, scope: str | None = None) -> bool | None:
    """Resume, and return whether the audit log has it; None if nothing was held: then it has nothing.

    Args:
        sources: Where Redis and the database are.
        comment: Why.
        actor: The operator.
        scope: The org or the key whose hold ends; that of everything if None.
    """
    control = _control(sources, actor)
    change = control.resume(comment) if scope is None else control.resume_scope(scope, comment)
    return None if change is None else change.unrecorded is None


def is_held(sources: Sources, scope: str | None = None) -> bool:
    """Return whether a hold stands: that of everything, or of an org or a key."""
    home = sources.partitions().home
    if scope is not None:
        return any(held.scope == scope for held in read_org_holds(home))
    return Hold(home, actor="").state() is not None


def _control(sources: Sources, actor: str) -> HoldControl:
    return HoldControl(partitions=sources.partitions(), database=lambda: nullcontext(sources.engine()), actor=actor)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSummary:
    """Whether what was accepted is somewhere, or has ended, and the equation as text."""

    balanced: bool
    summary: str


@dataclass(kw_only=True)
class Overview(Status):
    """One look at the whole.

    Attributes:
        found: What the doctor found last.
    """

    found: ExaminationResult = field(default_factory=ExaminationResult)

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
            "partitions": any(row.problem for row in self.partitions),
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
        if not self.snapshot.is_whole:
            asked = len(self.snapshot.parts) - len(self.snapshot.unavailable)
            text = f"{text} (of the {asked} partitions that can be asked)"
        if self.continuity is not None and self.continuity.is_lost:
            more = f"; but Redis has lost data. {self.continuity.summary()}; ask aquilax-feedback reconcile"
            return BalanceSummary(balanced=False, summary=text + more)
        missing = [
            moment.balance.missing for moment in self.snapshot.moments
        ]  # in none can it be made up for elsewhere
        if (lost := sum(number for number in missing if number > 0)) > 0:
            more = f" + {lost:,} missing: ask aquilax-feedback reconcile"
            return BalanceSummary(balanced=False, summary=text + more)
        more = f"; {-sum(missing):,} more than were counted as accepted so far" if sum(missing) < 0 else ""
        return BalanceSummary(balanced=True, summary=f"{text}: nothing is missing{more}")

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it: what `aquilax-feedback status --json` says, and what died."""
        return super().to_record() | {"dead_in_the_last_hour": self.died, "doctor": self.found.to_record()}


def look(sources: Sources) -> Overview:
    """Look at Redis and at the database; either may be unavailable."""

    def queue() -> tuple[Snapshot, Rates | None]:
        snapshot = take_partial_snapshot(sources.partitions())
        return snapshot, sources.pace.after(snapshot) if snapshot.is_whole else None

    overview = Overview.take(sources.settings, sources.partitions(), queue=queue, database=sources.engine)
    overview.found = sources.doctor.found()
    return overview
