"""Causes for programs: the list, one of them, and what operators decide."""

from __future__ import annotations

from datetime import UTC, datetime

from worker.operations.cause_decisions import VALUES, Verb
from worker.operations.causes import record_of
from worker.operations.dashboard.api import ApiHandler
from worker.operations.dashboard.cause_views import causes_of, change_of, find_cause, read_show
from worker.operations.dashboard.documents import text_in
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import RequestRefused, explained

__all__ = ["CauseApi", "CausesApi", "DecisionApi"]


class CausesApi(ApiHandler):
    """Causes."""

    async def get(self) -> None:
        """Answer with the causes of what fits, in the order of the page."""
        self.asked("show", "limit", *NAMES)
        limit, show = self.limit(), read_show(self.get_query_argument("show", ""))
        found = await self.look(causes_of, self.sources, self.filters(), show=show)
        begin, bucket = found.over_time.begin, found.over_time.bucket.total_seconds()
        self.finish(
            {
                "total": found.over_time.rows,
                "begin": None if begin is None else begin.isoformat(),
                "bucket_seconds": bucket,
                "lists": {name.value: number for name, number in found.numbers.items()},
                "causes": [one.to_record() | {"counts": list(one.count.counts)} for one in found.causes[:limit]],
            }
        )


class CauseApi(ApiHandler):
    """One cause."""

    async def get(self, fingerprint: str) -> None:
        """Answer with all that is known and decided of it."""
        self.asked()
        self.finish((await self.look(find_cause, self.sources, fingerprint)).to_record())


class DecisionApi(ApiHandler):
    """Acknowledge, resolve, reopen, mute, unmute, assign, runbook and note."""

    async def post(self, fingerprint: str, verb: str) -> None:
        """Do that to a cause."""
        self.may_change()
        name = VALUES.get(Verb(verb), "")
        sent = self.sent("comment", *([name] if name else []))
        comment = self.comment_in(sent, needed=Verb(verb) is Verb.NOTE)
        if name and name not in sent:
            raise RequestRefused(400, f"{name} is missing: expected it as text")
        with explained():
            value = text_in(sent, name) if name else ""
        triage = await self.look(
            change_of, self.sources, fingerprint, verb, value=value, comment=comment, actor=self.actor
        )
        self.finish(record_of(triage, datetime.now(UTC)))
