"""The pages of what waits for its time: a list, what would be done, and how far it is."""

from __future__ import annotations

from typing import Final

from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.dashboard.waiting import (
    FILTERS,
    NAMES,
    WaitingFields,
    actions_of,
    look_at_waiting,
    read_cursor,
    read_fields,
)
from worker.operations.waiting.message import BY_CLIENT
from worker.policy.envelope import WaitReason

__all__ = ["WaitingActionPage", "WaitingForm", "WaitingPage", "cause_title"]

_ROWS: Final = 50

_TICKED: Final = "ticked"
"""A field that the form of ticked rows always has: without it, none ticked would mean all."""

_ALL: Final = "all"
"""A field that says that all are meant, where no other names some."""


class WaitingPage(HtmlHandler):
    """What waits for its time."""

    tab = "waiting"

    async def get(self) -> None:
        """Show it."""
        self.asked("after", *FILTERS)
        fields = read_fields(self.get_query_arguments, blank_is_any=True)
        after = read_cursor(self.get_query_argument("after", ""))
        if fields.wrong is not None:
            self.set_status(400)
        view = await self.look(look_at_waiting, self.sources, fields.chosen, after=after, size=_ROWS)
        self.render("feedback_waiting.html", view=view, fields=fields, after=after, title=cause_title)


class WaitingForm(HtmlHandler):
    """What would be done, and its confirmation."""

    tab = "waiting"

    async def get(self, action: str) -> None:
        """Show which messages are meant."""
        self.asked(_TICKED, _ALL, *NAMES)
        fields = self._fields(read_fields(self.get_query_arguments), everything=self.get_query_argument(_ALL, ""))
        await self._show(action, fields)

    async def post(self, action: str) -> None:
        """Begin it, and lead to how far it is."""
        self.may_change()
        self.sent("comment", _ALL, *NAMES)
        fields = self._fields(read_fields(self.get_body_arguments), everything=self.body(_ALL))
        comment = self.body("comment")
        try:
            number = actions_of(self).begin(action, fields, actor=self.actor, comment=self.read_comment(comment))
        except RequestRefused as refusal:
            self.set_status(refusal.status_code)
            await self._show(action, fields, problem=refusal.summary)
        else:
            self.see("feedback-waiting-action", number)

    def _fields(self, fields: WaitingFields, *, everything: str) -> WaitingFields:
        if fields.wrong is not None:
            raise RequestRefused(400, " ".join(fields.wrong))
        if fields.is_everything and not everything:
            raise RequestRefused(400, "no message is ticked: go back, and tick some")
        return fields

    async def _show(self, action: str, fields: WaitingFields, *, problem: str = "") -> None:
        view = await self.look(look_at_waiting, self.sources, fields.chosen, after=None, size=_ROWS)
        self.render(
            "feedback_waiting_choose.html",
            action=action,
            fields=fields,
            view=view,
            problem=problem,
            title=cause_title,
        )


class WaitingActionPage(HtmlHandler):
    """How far an action is."""

    tab = "waiting"

    async def get(self, number: str) -> None:
        """Show it."""
        self.asked()
        self.render("feedback_waiting_action.html", action=actions_of(self).find(int(number)))


_TITLES: Final = {
    WaitReason.RETRY: "AquilaX could not take it",
    WaitReason.REDIS: "Redis failed",
    WaitReason.DATABASE: "The dead-letter database failed",
    WaitReason.BUSY: "Another press on the same answer is being sent",
    WaitReason.FAULT: "A fault of ours, which stands in the workers' log",
    BY_CLIENT: "Its client set the time",
}


def cause_title(waits: str, response: str = "") -> str:
    """Return why messages wait, as a page says it."""
    return f"Response {response}" if response else _TITLES.get(waits, waits)
