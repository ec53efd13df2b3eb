"""How it went, for programs."""

from __future__ import annotations

from worker.operations.dashboard.api import ApiHandler
from worker.operations.dashboard.history_views import history_of, read_asked

__all__ = ["HistoryApi"]


class HistoryApi(ApiHandler):
    """The history."""

    async def get(self) -> None:
        """Answer with the last hour, day or week."""
        self.asked("range", "until")
        self.finish((await self.look(history_of, self.sources, read_asked(self))).to_record())
