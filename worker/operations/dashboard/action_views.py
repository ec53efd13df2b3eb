"""The pages that replay and discard dead letters: a preview, which changes nothing, and its confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from worker.dead_letters.replays.edits import Edit
from worker.operations.dashboard.discards import Discards
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import Handler, RequestRefused
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.presenters import unusual
from worker.operations.dashboard.previews import (
    Pacing,
    begin_discard,
    choose_discard,
    choose_replay,
    frozen,
    plan_replay,
    read_canary,
    read_count,
    read_edit,
    read_rate,
)

if TYPE_CHECKING:
    from worker.operations.dashboard.filters import Filters
    from worker.operations.dashboard.previews import Choice

__all__ = ["TICKED", "DiscardForm", "DiscardPage", "ReplayForm", "chosen_filters", "discards_of"]

TICKED: Final = "ticked"
"""A field that the form of ticked rows always has: without it, none ticked would mean all."""


class _ActionForm(HtmlHandler):
    """The preview of an action, and its confirmation."""

    section = "causes"
    action: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = (*NAMES, "expected", "comment")

    async def get(self) -> None:
        """Show what would be done."""
        self.asked(*self.fields, TICKED)
        await self._show(frozen(chosen_filters(self)))

    async def post(self) -> None:
        """Begin it, and lead to its progress; or show what has changed since the preview."""
        self.may_change()
        self.sent(*self.fields)
        filters = frozen(self.filters(self.get_body_arguments))
        comment = self.body("comment")
        try:
            expected = _expected(self)
            page, number = await self.begin(filters, expected=expected, comment=self.read_comment(comment))
        except RequestRefused as refusal:
            self.set_status(refusal.status_code)
            await self._show(filters, problem=refusal.summary, comment=comment)
        else:
            self.see(page, number)

    def pacing(self) -> Pacing:
        """Return the pace that was asked for, if the action has one."""
        return Pacing()

    async def choose(self, filters: Filters) -> Choice:
        """Return what would be done."""
        raise NotImplementedError

    async def begin(self, filters: Filters, **confirmed: Any) -> tuple[str, int]:
        """Begin it as confirmed (`expected`, `comment`); return the page of its progress, and its number there."""
        raise NotImplementedError

    async def _show(self, filters: Filters, *, problem: str = "", comment: str = "") -> None:
        choice = await self.choose(filters)
        self.render(
            "feedback_choose.html",
            action=self.action,
            choice=choice,
            filters=filters,
            pacing=self.pacing(),
            problem=problem,
            comment=comment,
            unusual=unusual(self.action, choice.by_state, chosen=filters.selection.states),
        )


class ReplayForm(_ActionForm):
    """What a replay would do, and how fast it shall go."""

    action = "replay"
    fields = (*_ActionForm.fields, "rate", "canary", "begins_at", "set_org", "set_group", "seen_org", "seen_group")

    def pacing(self) -> Pacing:
        """Return the default until a form is sent; an empty field is as fast as it goes, and no canary."""
        value = self.body if self.request.method == "POST" else self._asked_for
        org, group = value("set_org") or None, value("set_group") or None
        if self.request.method == "GET" and not (value("rate") or value("canary")):
            return Pacing(begins=value("begins_at"), set_org=org, set_group=group)
        rate, canary = read_rate(value("rate") or None), read_canary(value("canary") or None)
        return Pacing(rate=rate, canary=canary, begins=value("begins_at"), set_org=org, set_group=group)

    def _asked_for(self, name: str) -> str:
        value: str = self.get_query_argument(name, "", strip=True)
        return value

    async def choose(self, filters: Filters) -> Choice:
        """Return what a replay would do."""
        pacing = self.pacing()
        try:
            edit = read_edit(pacing)
        except RequestRefused:
            if self.request.method == "GET":
                raise
            edit = Edit()  # the form is shown again, with what is wrong
        return await self.look(choose_replay, self.sources, filters, rate=pacing.rate, edit=edit)

    async def begin(self, filters: Filters, **confirmed: Any) -> tuple[str, int]:
        """Plan the replay. An edit that was in no preview is shown in one before."""
        pacing = self.pacing()
        edit = read_edit(pacing)
        if edit.fields != {name: seen for name in ("org", "group") if (seen := self.body(f"seen_{name}"))}:
            raise RequestRefused(409, "the preview was of another org or group: look at what changes, and confirm it")
        plan = await plan_replay(self.sources, filters, pacing, actor=self.actor, **confirmed)
        return "feedback-replay-plan", plan.id


class DiscardForm(_ActionForm):
    """What a discard would do."""

    action = "discard"

    async def choose(self, filters: Filters) -> Choice:
        """Return what a discard would do."""
        return await self.look(choose_discard, self.sources, filters)

    async def begin(self, filters: Filters, **confirmed: Any) -> tuple[str, int]:
        """Begin to discard in the background."""
        discards = discards_of(self)
        begun = await self.look(begin_discard, self.sources, discards, filters, actor=self.actor, **confirmed)
        return "feedback-discarding", begun.number


class DiscardPage(HtmlHandler):
    """How far a discard is."""

    section = "causes"

    async def get(self, number: str) -> None:
        """Show it."""
        found = discards_of(self).find(int(number))
        if found is None:
            raise RequestRefused(
                404, "Flower knows of no such discard: it was restarted since. The audit has what was done."
            )
        self.render("feedback_discarding.html", discard=found)


def discards_of(handler: Handler) -> Discards:
    """Return the discards of this Flower."""
    application: Any = handler.application  # which carries them
    if not hasattr(application, "feedback_discards"):
        application.feedback_discards = Discards(handler.sources)
    discards: Discards = application.feedback_discards
    return discards


def chosen_filters(page: HtmlHandler) -> Filters:
    """Return the filters of a preview's address; it is refused if no row is ticked where ticked rows are meant."""
    if page.get_query_arguments(TICKED) and not page.get_query_arguments("id"):
        raise RequestRefused(400, "id: no row is ticked. Go back, and tick the rows that you mean.")
    return page.filters()


def _expected(page: HtmlHandler) -> int | None:
    """How many rows the preview had; None, which is not compared, if the field is absent and a filter is not."""
    narrowed = any(page.get_body_arguments(name) for name in NAMES)
    return read_count(page.body("expected") if page.get_body_arguments("expected") or not narrowed else None)
