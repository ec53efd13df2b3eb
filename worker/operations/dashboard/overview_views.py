"""The *Overview*, and its buttons: hold and resume."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.continuity import record
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.delivery.hold import Hold
from worker.operations.dashboard.overview import look
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.hold_advice import fix_of, next_probe, what_resume_does

if TYPE_CHECKING:
    from worker.operations.dashboard.sources import Sources

__all__ = ["HoldPage", "OverviewPage", "ResumePage", "hold", "is_held", "resume"]

_UNRECORDED: Final = "?unrecorded=1"


class OverviewPage(HtmlHandler):
    """How it goes."""

    tab = "overview"

    async def get(self) -> None:
        """Show it; with status 503 if something is away, and with what is not."""
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
    """Hold all workers, and return whether the audit has it: a database that is away must not keep anybody from it."""
    Hold(sources.client(), by=actor).hold(comment, by=actor)
    return _record(sources, "hold", comment=comment, actor=actor)


def resume(sources: Sources, *, comment: str, actor: str) -> bool | None:
    """Resume, and return whether the audit has it; None if nothing was held: then it has nothing."""
    held = Hold(sources.client(), by=actor)
    state = held.state()
    if not held.resume():
        return None
    details: dict[str, Any] = {} if state is None else {"held": state.as_dict()}
    return _record(sources, "resume", comment=comment, actor=actor, details=details)


def is_held(sources: Sources) -> bool:
    """Return whether a hold stands."""
    return Hold(sources.client(), by="").state() is not None


def _record(sources: Sources, action: str, *, comment: str, actor: str, details: dict[str, Any] | None = None) -> bool:
    try:
        record_action(sources.engine(), actor=actor, action=action, target="queue", comment=comment, details=details)
        with suppress(redis.RedisError):
            record(sources.client(), sources.engine())
    except DeadLetterError:
        return False
    return True
