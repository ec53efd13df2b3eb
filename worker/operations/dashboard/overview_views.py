"""The *Overview*, and its buttons: hold and resume."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from worker.delivery.hold import Hold
from worker.operations.dashboard.overview import look
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.hold import HoldControl, fix_of, next_probe, what_resume_does

if TYPE_CHECKING:
    from worker.operations.dashboard.sources import Sources

__all__ = ["HoldPage", "OverviewPage", "ResumePage", "hold", "is_held", "resume"]

_UNRECORDED: Final = "?unrecorded=1"


class OverviewPage(HtmlHandler):
    """How it goes."""

    tab = "overview"

    async def get(self) -> None:
        """Show it; with status 503 if something is unavailable, and with what is not."""
        overview = await self.look(look, self.sources)
        if not overview.is_whole:
            self.set_status(503)
        unrecorded = bool(self.get_query_argument("unrecorded", ""))
        self.render(
            "feedback_overview.html",
            overview=overview,
            unrecorded=unrecorded,
            fix_of=fix_of,
            next_probe=next_probe,
            what_resume_does=what_resume_does,
        )


class HoldPage(HtmlHandler):
    """Hold by hand."""

    async def post(self) -> None:
        """Hold, and show the overview again."""
        self.may_change()
        self.sent("comment")
        recorded = await self.look(
            hold, self.sources, comment=self.read_comment(self.body("comment")), actor=self.actor
        )
        self.see("feedback-overview", query="" if recorded else _UNRECORDED)


class ResumePage(HtmlHandler):
    """End the hold by hand, or where there is none whatever hold there is."""

    async def post(self) -> None:
        """Resume, and show the overview again."""
        self.may_change()
        self.sent("comment")
        comment = self.read_comment(self.body("comment"), needed=False)
        recorded = await self.look(resume, self.sources, comment=comment, actor=self.actor)
        self.see("feedback-overview", query=_UNRECORDED if recorded is False else "")


def hold(sources: Sources, *, comment: str, actor: str) -> bool:
    """Hold all workers, and return whether the audit log has it."""
    return _control(sources, actor).hold(comment).unrecorded is None


def resume(sources: Sources, *, comment: str, actor: str) -> bool | None:
    """Resume, and return whether the audit log has it; None if nothing was held: then it has nothing."""
    change = _control(sources, actor).resume(comment)
    return None if change is None else change.unrecorded is None


def is_held(sources: Sources) -> bool:
    """Return whether a hold stands."""
    return Hold(sources.client(), actor="").state() is not None


def _control(sources: Sources, actor: str) -> HoldControl:
    return HoldControl(client=sources.client(), database=lambda: nullcontext(sources.engine()), actor=actor)
