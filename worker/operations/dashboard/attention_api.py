"""What waits for its time, for programs: JSON under ``/api/feedback``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.operations.dashboard.api import ApiHandler
from worker.operations.dashboard.documents import values_in
from worker.operations.dashboard.filters import WrongFilter
from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.waiting import FILTERS, NAMES, actions_of, look_at_waiting, read_cursor, read_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.operations.dashboard.waiting import WaitingFields

__all__ = ["WaitingActApi", "WaitingActionApi", "WaitingApi"]


class WaitingApi(ApiHandler):
    """What waits."""

    async def get(self) -> None:
        """Answer with what is due first of what fits, and what it waits for."""
        self.asked("after", "limit", *FILTERS)
        fields = _fields(self.get_query_arguments)
        after = read_cursor(self.get_query_argument("after", ""))
        view = await self.look(look_at_waiting, self.sources, fields.chosen, after=after, size=self.limit())
        self.finish(view.to_record())


class WaitingActApi(ApiHandler):
    """Send now, and dead-letter now."""

    async def post(self, action: str) -> None:
        """Begin it."""
        self.may_change()
        sent = self.sent("comment", "all", *NAMES)
        fields = _fields(values_in(sent))
        if fields.is_everything is not (sent.get("all") is True):
            raise RequestRefused(400, f'expected some of {", ".join(NAMES)}, or "all": true')
        actions, comment = actions_of(self), self.comment_in(sent)
        number = actions.begin(action, fields, actor=self.actor, comment=comment)
        self.set_status(202)
        self.finish(actions.find(number).to_record())


class WaitingActionApi(ApiHandler):
    """One of these."""

    async def get(self, number: str) -> None:
        """Answer with how far it is."""
        self.asked()
        self.finish(actions_of(self).find(int(number)).to_record())


def _fields(values: Callable[[str], Any]) -> WaitingFields:
    try:
        fields = read_fields(values)
    except WrongFilter as error:
        raise RequestRefused(400, str(error)) from None
    if fields.wrong is not None:
        raise RequestRefused(400, " ".join(fields.wrong))
    return fields
