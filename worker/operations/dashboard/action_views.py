"""The pages that replay and discard dead letters: a preview, which changes nothing, and its confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from worker.operations.dashboard.discards import Discards
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import Handler, RequestRefused
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.presenters import unusual
from worker.operations.dashboard.previews import (
    Pacing,
    begin_discard,
    begin_replay,
    choose_discard,
    choose_replay,
    frozen,
    read_canary,
    read_count,
    read_rate,
)

if TYPE_CHECKING:
    from worker.operations.dashboard.filters import Filters

__all__ = ["DiscardForm", "DiscardPage", "ReplayForm", "discards_of"]

_TICKED: Final = "ticked"
"""A field that the form of ticked rows always has: without it, none ticked would mean all."""

_CONFIRMED: Final = ("expected", "comment")
_PACED: Final = ("rate", "canary")


class ReplayForm(HtmlHandler):
    """What a replay would do, and how it shall go."""

    section = "causes"

    async def get(self) -> None:
        """Show what would be replayed."""
        self.asked(*NAMES, _TICKED, *_CONFIRMED, *_PACED)
        pacing = Pacing()
        if self.get_query_arguments("rate") or self.get_query_arguments("canary"):
            pacing = _pacing(self.get_query_argument("rate", ""), self.get_query_argument("canary", ""))
        await self._show(frozen(_chosen(self)), pacing)

    async def post(self) -> None:
        """Plan the replay, and lead to its progress; or show what has changed since the preview."""
        self.may_change()
        self.sent(*NAMES, *_CONFIRMED, *_PACED)
        filters = frozen(self.filters(self.get_body_arguments))
        pacing, comment = _pacing(self.body("rate"), self.body("canary")), self.body("comment")
        try:
            plan = await self.look(
                begin_replay,
                self.sources,
                filters,
                pacing,
                expected=_expected(self),
                actor=self.actor,
                comment=self.read_comment(comment),
            )
        except RequestRefused as refusal:
            self.set_status(refusal.status_code)
            await self._show(filters, pacing, problem=refusal.words, comment=comment)
        else:
            self.see("feedback-replay-plan", plan.id)

    async def _show(self, filters: Filters, pacing: Pacing, *, problem: str = "", comment: str = "") -> None:
        choice = await self.look(choose_replay, self.sources, filters, rate=pacing.rate)
        self.render(
            "feedback_choose.html",
            action="replay",
            choice=choice,
            filters=filters,
            pacing=pacing,
            problem=problem,
            comment=comment,
            unusual=unusual("replay", choice.by_state, chosen=filters.selection.states),
        )


class DiscardForm(HtmlHandler):
    """What a discard would do."""

    section = "causes"

    async def get(self) -> None:
        """Show what would be discarded."""
        self.asked(*NAMES, _TICKED, *_CONFIRMED)
        await self._show(frozen(_chosen(self)))

    async def post(self) -> None:
        """Begin the discard, and lead to its progress; or show what has changed since the preview."""
        self.may_change()
        self.sent(*NAMES, *_CONFIRMED)
        filters, comment = frozen(self.filters(self.get_body_arguments)), self.body("comment")
        try:
            begun = await self.look(
                begin_discard,
                self.sources,
                discards_of(self),
                filters,
                expected=_expected(self),
                actor=self.actor,
                comment=self.read_comment(comment),
            )
        except RequestRefused as refusal:
            self.set_status(refusal.status_code)
            await self._show(filters, problem=refusal.words, comment=comment)
        else:
            self.see("feedback-discarding", begun.number)

    async def _show(self, filters: Filters, *, problem: str = "", comment: str = "") -> None:
        choice = await self.look(choose_discard, self.sources, filters)
        self.render(
            "feedback_choose.html",
            action="discard",
            choice=choice,
            filters=filters,
            pacing=None,
            problem=problem,
            comment=comment,
            unusual=unusual("discard", choice.by_state, chosen=filters.selection.states),
        )


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


def _chosen(page: HtmlHandler) -> Filters:
    """The filters of a preview's address.

    Raises:
        RequestRefused: One of them can't be read, or no row is ticked where ticked rows are meant.
    """
    if page.get_query_arguments(_TICKED) and not page.get_query_arguments("id"):
        raise RequestRefused(400, "id: no row is ticked. Go back, and tick the rows that you mean.")
    return page.filters()


def _pacing(rate: str, canary: str) -> Pacing:
    """The pace that a form says. An empty field is as fast as it goes, as it says beside it, and no canary."""
    return Pacing(rate=read_rate(rate or None), canary=read_canary(canary or None))


def _expected(page: HtmlHandler) -> int | None:
    """How many rows the preview had; None where the field is absent: then the number is not compared.

    Raises:
        RequestRefused: It is no number, or absent although no filter narrows what is acted on.
    """
    narrowed = any(page.get_body_arguments(name) for name in NAMES)
    return read_count(page.body("expected") if page.get_body_arguments("expected") or not narrowed else None)
