"""The pages of replays: all of them, one that moves by itself, and its buttons; and the audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.database.audit_log import actions
from worker.database.replay_models import RowState
from worker.dead_letters.replays import lifecycle, queries
from worker.dead_letters.replays.attendance import START_A_REPLAY_WORKER
from worker.dead_letters.replays.errors import NoSuchReplay, ReplayError
from worker.dead_letters.replays.failures import died_of
from worker.dead_letters.replays.free_rows import LOOKED_AT, free_rest
from worker.dead_letters.replays.queue import workers_watch
from worker.dead_letters.statistics import summaries_by_fingerprint
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.presenters import chosen, deed, details, fingerprints_named, rate
from worker.policy.parsing import read_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.database.audit_log import Action
    from worker.dead_letters.replays.failures import FailureCount
    from worker.dead_letters.replays.queries import Plan, PlanRow
    from worker.operations.dashboard.sources import Sources

__all__ = ["AuditPage", "ReplayPage", "ReplaysPage", "SteerPage", "find_plan", "plan_record", "read_before", "steer"]

_PAGE: Final = 50

_STEERS: Final = {"pause": lifecycle.pause, "resume": lifecycle.resume, "cancel": lifecycle.cancel}


class ReplaysPage(HtmlHandler):
    """All replays, the newest first."""

    section = "replays"

    async def get(self) -> None:
        """Show a page of them."""
        before = read_before(self.get_query_argument("before", ""))
        plans = await self.look(plans_of, self.sources, before=before, limit=_PAGE)
        self.render("feedback_replays.html", plans=plans, full=len(plans) == _PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    plan: Plan
    rows: list[PlanRow]
    lines: Mapping[str, str]
    """The causes that it names, as text, by their fingerprints, as far as they can be told."""
    left_dead: int
    """How many rows were not sent, and are dead, counted up to `LOOKED_AT` and one more; 0 as long as it goes on."""
    rest: int | None
    """How many of these a replay of the rest would take: others are in another replay already. None if there are too
    many to be looked up."""
    died_of: list[FailureCount]
    """Of what its rows died again; nothing as long as it goes on."""
    watched: bool | None
    """Whether any worker advances plans; None if Redis can't say."""

    def cause_of(self, row: PlanRow) -> str:
        """Return what a row had died of when it was chosen, as text."""
        if row.fingerprint == row.fingerprint_now and row.summary:
            return row.summary
        last = f"; last died of {row.summary}" if row.summary else ""
        return self.lines.get(row.fingerprint) or f"cause {row.fingerprint}{last}"


class ReplayPage(HtmlHandler):
    """One replay, and how far it is."""

    section = "replays"

    async def get(self, number: str) -> None:
        """Show it."""
        after = read_before(self.get_query_argument("after", ""))
        text = _read_state(self.get_query_argument("rows", ""))
        seen = await self.look(progress_of, self.sources, int(number), after=-1 if after is None else after, state=text)
        self.render(
            "feedback_replay.html",
            seen=seen,
            plan=seen.plan,
            looked_at=LOOKED_AT,
            full=len(seen.rows) == _PAGE,
            wanted=text,
            after=after,
            chosen=chosen(seen.plan.selection, seen.lines),
            rate=rate,
            start_a_worker=START_A_REPLAY_WORKER,
        )


class SteerPage(HtmlHandler):
    """The buttons of a replay."""

    async def post(self, number: str, what: str) -> None:
        """Pause it, resume it or cancel it, and show it again."""
        self.may_change()
        self.sent("comment")
        comment = self.read_comment(self.body("comment"), needed=False)
        await self.look(steer, self.sources, int(number), what, actor=self.actor, comment=comment)
        self.see("feedback-replay-plan", number)


class AuditPage(HtmlHandler):
    """Who did what, and why."""

    section = "audit"

    async def get(self) -> None:
        """Show a page of it."""
        before = read_before(self.get_query_argument("before", ""))
        done, lines = await self.look(audit_of, self.sources, before=before, limit=_PAGE)
        self.render(
            "feedback_audit.html",
            actions=done,
            full=len(done) == _PAGE,
            deed=deed,
            details=lambda action: details(action, lines),
        )


def plans_of(sources: Sources, *, before: int | None, limit: int) -> list[Plan]:
    """Return replays, the newest first."""
    return queries.plans(sources.engine(), limit=limit, before=before)


def actions_of(sources: Sources, *, before: int | None, limit: int) -> list[Action]:
    """Return what operators did, the latest first."""
    return actions(sources.engine(), limit=limit, before=before)


def audit_of(sources: Sources, *, before: int | None, limit: int) -> tuple[list[Action], dict[str, str]]:
    """Return what operators did, and the causes that are named there, as text."""
    done = actions_of(sources, before=before, limit=limit)
    selections = [selection for action in done if isinstance(selection := action.details.get("selection"), dict)]
    return done, summaries_by_fingerprint(sources.engine(), fingerprints_named(*selections))


def find_plan(sources: Sources, number: int) -> Plan:
    """Return a replay. Raises `RequestRefused` if there is none of this number."""
    try:
        return queries.find(sources.engine(), number)
    except NoSuchReplay as error:
        raise RequestRefused(404, str(error)) from None


def progress_of(sources: Sources, number: int, *, after: int, state: str) -> _Progress:
    """Return a replay, some of its rows, and whether a worker advances it."""
    plan = find_plan(sources, number)
    states = (RowState(state),) if state else ()
    rows = queries.rows(sources.engine(), number, states=states, after=after, limit=_PAGE)
    changed = {row.fingerprint for row in rows if row.fingerprint != row.fingerprint_now}
    over = _has_rest(plan)
    return _Progress(
        plan=plan,
        rows=rows,
        lines=summaries_by_fingerprint(sources.engine(), fingerprints_named(plan.selection) | changed),
        left_dead=queries.count_left_dead(sources.engine(), number, most=LOOKED_AT) if over else 0,
        rest=_rest_of(sources, number) if over else 0,
        died_of=_died_of(sources, plan),
        watched=_is_watched(sources) if plan.is_active else None,
    )


def _has_rest(plan: Plan) -> bool:
    """Whether it was cancelled or stopped before it sent all of its rows."""
    return not plan.is_active and plan.progress.waiting > 0


def _rest_of(sources: Sources, number: int) -> int | None:
    free = free_rest(sources.engine(), number)
    return free.rows if free.are_all else None


def _died_of(sources: Sources, plan: Plan) -> list[FailureCount]:
    return died_of(sources.engine(), plan.id) if plan.progress.dead and not plan.is_active else []


def plan_record(sources: Sources, number: int) -> dict[str, Any]:
    """Return a replay as JSON can carry it; see `find_plan`.

    If it has ended, it says of what its rows died again, and how many a replay of the rest would take.
    """
    plan = find_plan(sources, number)
    rest = _rest_of(sources, number) if _has_rest(plan) else 0
    return plan.to_record() | {"died_of": [each.to_record() for each in _died_of(sources, plan)], "rest": rest}


def steer(sources: Sources, number: int, what: str, *, actor: str, comment: str) -> Plan:
    """Pause, resume or cancel a replay. Raises `RequestRefused` if there is none, or its state does not allow that."""
    try:
        return _STEERS[what](sources.engine(), number, actor=actor, comment=comment)
    except NoSuchReplay as error:
        raise RequestRefused(404, str(error)) from None
    except ReplayError as error:
        raise RequestRefused(409, str(error)) from None


def read_before(text: str) -> int | None:
    """Read the number that a page goes on from; None for the first page. Raises `RequestRefused` if it is no number."""
    if not text:
        return None
    try:
        return read_whole(text)
    except ValueError:
        raise RequestRefused(400, f"{text[:40]!r} is no place in a list: begin again at its first page") from None


def _read_state(text: str) -> str:
    if text and text not in set(RowState):
        raise RequestRefused(400, f"rows is {text[:40]!r}: expected one of {', '.join(RowState)}")
    return text


def _is_watched(sources: Sources) -> bool | None:
    try:
        return workers_watch(sources.partitions().home)
    except redis.RedisError:
        return None
