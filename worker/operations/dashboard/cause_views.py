"""The pages of causes: the list, one cause with all that is known and decided of it, and what its forms do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from worker.dead_letters.triage import NoSuchCause
from worker.operations.cause_decisions import VALUES, Verb, decide
from worker.operations.causes import CauseDetails, Show, TriagedCauses, details_of, trend, triaged
from worker.operations.dashboard.dead_letter_views import elsewhere_of, states_of
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import RequestRefused, explained
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.presenters import deed, details
from worker.operations.runbook import advice_of, runbook_of

if TYPE_CHECKING:
    from worker.dead_letters.triage import Triage
    from worker.operations.dashboard.filters import Filters
    from worker.operations.dashboard.sources import Sources

__all__ = ["CausePage", "CausesPage", "DecisionPage", "causes_of", "change_of", "find_cause", "read_show"]

_CAUSES: Final = 50
"""Causes on one page. Where there are more, the new and the most frequent ones say what is wrong."""

_MUTES: Final = (("1h", "1 hour"), ("4h", "4 hours"), ("1d", "1 day"), ("7d", "1 week"), ("30d", "30 days"))
"""For how long the form offers to mute a cause."""


class CausesPage(HtmlHandler):
    """What has died, and of what: one line for each cause, however many rows it has."""

    section = "causes"

    async def get(self) -> None:
        """Show the causes."""
        self.asked("show", *NAMES)
        filters, wrong = self.read_filters()
        show, found, states, elsewhere = read_show(self.get_query_argument("show", "")), None, None, set[str]()
        if wrong is None:
            found = await self.look(causes_of, self.sources, filters, show=show)
            counts = tuple(cause.count for cause in found.causes[:_CAUSES])
            elsewhere = await self.look(elsewhere_of, self.sources, filters, counts)
            if not found.over_time.rows and filters.folded:
                states = await self.look(states_of, self.sources)
        self.render(
            "feedback_causes.html",
            found=found,
            shown=() if found is None else found.causes[:_CAUSES],
            elsewhere=elsewhere,
            filters=filters,
            show=show,
            states=states,
            wrong=wrong,
        )


class CausePage(HtmlHandler):
    """One cause."""

    section = "causes"

    async def get(self, fingerprint: str, verb: str = "") -> None:  # noqa: ARG002 - a form that was refused is loaded again
        """Show all that is known of it, and what can be decided; also at the address of one of its forms."""
        self.asked()
        await self.show(fingerprint)

    async def show(self, fingerprint: str, *, problem: str = "") -> None:
        """Show it, with what is wrong with the form that was sent."""
        seen = await self.look(find_cause, self.sources, fingerprint)
        self.render(
            "feedback_cause.html",
            seen=seen,
            triage=seen.triage,
            problem=problem,
            mutes=_MUTES,
            advice=advice_of(seen.triage.summary),
            runbook=runbook_of(seen.triage.summary),
            trend="" if seen.cause is None else trend(seen.cause.last_day, seen.cause.day_before),
            deed=deed,
            details=lambda action: details(action, {}),
        )


class DecisionPage(CausePage):
    """The forms of a cause."""

    async def post(self, fingerprint: str, verb: str) -> None:
        """Carry out what the form says, and show the cause again; or say what is wrong with it."""
        self.may_change()
        name = VALUES.get(Verb(verb), "")
        self.sent("comment", *([name] if name else []))
        try:
            comment = self.read_comment(self.body("comment"), needed=Verb(verb) is Verb.NOTE)
            value = self.body(name) if name else ""
            await self.look(change_of, self.sources, fingerprint, verb, value=value, comment=comment, actor=self.actor)
        except RequestRefused as refusal:
            if refusal.status_code == 404:  # noqa: PLR2004 - the status of HTTP
                raise
            self.set_status(refusal.status_code)
            await self.show(fingerprint, problem=refusal.summary)
        else:
            self.see("feedback-cause", fingerprint)


def causes_of(sources: Sources, filters: Filters, *, show: Show) -> TriagedCauses:
    """Return the causes of what fits, and what is decided of each."""
    return triaged(sources.engine(), filters.selection, show=show, now=datetime.now(UTC))


def find_cause(sources: Sources, fingerprint: str) -> CauseDetails:
    """Return all that is known of a cause. Raises `RequestRefused` if there is none of this fingerprint."""
    try:
        return details_of(sources.engine(), fingerprint, now=datetime.now(UTC))
    except NoSuchCause as error:
        raise RequestRefused(404, str(error)) from None


def change_of(sources: Sources, fingerprint: str, verb: str, **given: Any) -> Triage:
    """Decide something of a cause, as `decide`. Raises `RequestRefused` if that can't be read, or there is no cause."""
    try:
        with explained():
            return decide(sources.engine(), fingerprint, Verb(verb), now=datetime.now(UTC), **given)
    except NoSuchCause as error:
        raise RequestRefused(404, str(error)) from None


def read_show(text: str) -> Show:
    """Read which causes are wanted. Raises `RequestRefused` if there is no such list."""
    try:
        return Show(text) if text else Show.UNMUTED
    except ValueError:
        raise RequestRefused(400, f"show is {text[:40]!r}: expected one of {', '.join(Show)}") from None
