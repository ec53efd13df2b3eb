"""The page of the workers, and what an operator tells one of them from there."""

from __future__ import annotations

from typing import Final

from worker.operations.dashboard.api import ApiHandler
from worker.operations.dashboard.fleet import fleet_of
from worker.operations.dashboard.handler import RequestRefused, explained, whole
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.workers.control import WorkerAction
from worker.policy.parsing import read_text

__all__ = ["MOST_PLACES", "WorkerActApi", "WorkerForm", "WorkersApi", "WorkersPage", "read_name"]

MOST_PLACES: Final = 1000
"""By so many a pool may grow or shrink at once."""

_TITLES: Final = {
    WorkerAction.QUIET: "Quiet",
    WorkerAction.CONSUME: "Let consume",
    WorkerAction.STOP: "Stop",
    WorkerAction.GROW: "Grow",
    WorkerAction.SHRINK: "Shrink",
}

_EFFECTS: Final = {
    WorkerAction.QUIET: "It takes no more feedback, and ends what it has in flight. The others go on. It goes on being "
    "quiet until it is let consume again, or restarted.",
    WorkerAction.CONSUME: "It takes feedback again, and brings replays forward.",
    WorkerAction.STOP: "It ends what it has in flight, returns the rest to the queue, and its process ends. What has "
    "started it may start it again.",
    WorkerAction.GROW: "It delivers more at once, until it is restarted.",
    WorkerAction.SHRINK: "It delivers fewer at once, until it is restarted: what runs is left to end.",
}


def read_name(text: str) -> str:
    """Return a worker's node name. Raises `RequestRefused` if it is none."""
    try:
        return read_text(text)
    except ValueError as error:
        raise RequestRefused(400, f"name is {text[:40]!r}: expected a worker's name: {error}") from None


class WorkersPage(HtmlHandler):
    """The workers."""

    tab = "fleet"

    async def get(self) -> None:
        """Show them; with what was told to one of them, if this follows it."""
        self.asked("told", "unrecorded")
        view = await self.look(fleet_of(self).look)
        self.render(
            "feedback_workers.html",
            view=view,
            told=self.get_query_argument("told", "") in set(WorkerAction),
            unrecorded=bool(self.get_query_argument("unrecorded", "")),
        )


class WorkerForm(HtmlHandler):
    """What would be told to a worker, and its confirmation."""

    tab = "fleet"

    async def get(self, action: str) -> None:
        """Show it."""
        self.asked("name")
        self._show(WorkerAction(action), read_name(self.get_query_argument("name", "")))

    async def post(self, action: str) -> None:
        """Tell it, and show the workers again; or say what was wrong."""
        self.may_change()
        self.sent("name", "comment", "by")
        what, name, comment = WorkerAction(action), read_name(self.body("name")), self.body("comment")
        try:
            by = whole("by", self.body("by") or "1", least=1, most=MOST_PLACES)
            told = await self.look(
                fleet_of(self).tell, name, what, comment=self.read_comment(comment), actor=self.actor, by=by
            )
        except RequestRefused as refusal:
            self.set_status(refusal.status_code)
            self._show(what, name, problem=refusal.summary, comment=comment)
        else:
            unrecorded = "" if told.unrecorded is None else "&unrecorded=1"
            self.see("feedback-workers", query=f"?told={what}{unrecorded}")

    def _show(self, action: WorkerAction, name: str, *, problem: str = "", comment: str = "") -> None:
        self.render(
            "feedback_worker_act.html",
            action=action,
            name=name,
            problem=problem,
            comment=comment,
            title=_TITLES[action],
            effect=_EFFECTS[action],
            most=MOST_PLACES,
        )


class WorkersApi(ApiHandler):
    """The workers."""

    async def get(self) -> None:
        """Answer with each of them."""
        self.asked()
        self.finish((await self.look(fleet_of(self).look)).to_record())


class WorkerActApi(ApiHandler):
    """What a worker is told."""

    async def post(self, action: str) -> None:
        """Tell it, and answer with its reply."""
        self.may_change()
        sent = self.sent("name", "comment", "by")
        with explained():
            name = read_name(str(sent.get("name", "")))
        by = whole("by", self.number(sent, "by") or "1", least=1, most=MOST_PLACES)
        comment = self.comment_in(sent)
        told = await self.look(
            fleet_of(self).tell, name, WorkerAction(action), comment=comment, actor=self.actor, by=by
        )
        self.finish(told.to_record())
