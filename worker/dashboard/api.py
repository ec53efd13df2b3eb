"""The same things for programs: JSON under ``/api/feedback``, beside Flower's own API."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from worker.dashboard.acting import discards_of, read_count
from worker.dashboard.admission import is_simple
from worker.dashboard.choosing import Pacing, begin_discard, begin_replay, choose_discard, choose_replay
from worker.dashboard.filters import NAMES
from worker.dashboard.handler import Handler, Refused
from worker.dashboard.looking import causes_of, find_row, read_order, read_place, rows_of
from worker.dashboard.overview import look
from worker.dashboard.overviewing import hold, resume
from worker.dashboard.replaying import actions_of, find_plan, plans_of, read_before, steer
from worker.deadletters.record import to_record

if TYPE_CHECKING:
    from datetime import datetime

    from worker.deadletters.actions import Action
    from worker.deadletters.triage import Causes

__all__ = [
    "AuditApi",
    "CausesApi",
    "DeadLetterApi",
    "DeadLettersApi",
    "DiscardApi",
    "DiscardsApi",
    "HoldApi",
    "OverviewApi",
    "PreviewApi",
    "ReplayApi",
    "ReplaysApi",
    "ResumeApi",
    "SteerApi",
]

_LIMIT: Final = 50
_MOST: Final = 500


class Api(Handler):
    """What answers in JSON."""

    def check_token(self) -> None:
        """Take only what no page of another site can send: JSON, with a header that a browser would ask about first.

        Raises:
            HTTPError: 403.
        """
        headers = self.request.headers
        kind, requested_with = headers.get("Content-Type", ""), headers.get("X-Requested-With")
        if is_simple(content_type=kind, requested_with=requested_with):
            raise Refused(403, "a change needs Content-Type: application/json and the header X-Requested-With")

    def say(self, title: str, words: str, *, do: str = "") -> None:
        """Answer with a problem, as JSON."""
        self.finish({"error": words, "title": title} | ({"do": do} if do else {}))

    def document(self) -> dict[str, Any]:
        """Return the JSON object that was sent.

        Raises:
            Refused: There is none.
        """
        try:
            document = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Refused(400, "expected a JSON object")
        return document

    def sent(self, *names: str) -> dict[str, Any]:
        """Return the document, which may have filters, and these fields.

        Raises:
            Refused: It has another one: a misspelt filter would choose too much.
        """
        document = self.document()
        if unknown := sorted(set(document) - {*names, *NAMES}):
            raise Refused(400, f"{unknown[0][:40]!r} is no field: expected some of {', '.join((*names, *NAMES))}")
        return document

    def limit(self) -> int:
        """Return how many of a list are wanted.

        Raises:
            Refused: It is no such number.
        """
        text = self.get_query_argument("limit", str(_LIMIT))
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= _MOST:
            raise Refused(400, f"limit is {text[:40]!r}: expected a number from 1 to {_MOST}")
        return int(text)


def _values(document: dict[str, Any]) -> Any:  # noqa: ANN401 - a function from a name to its values
    """The filters of a document: each a value, or a list of values."""

    def of(name: str) -> list[str]:
        value = document.get(name)
        values = value if isinstance(value, list) else [] if value is None else [value]
        return [str(each) for each in values]

    return of


class OverviewApi(Api):
    """How it goes."""

    async def get(self) -> None:
        """Answer with what the overview shows."""
        overview = await self.look(look, self.sources)
        if not overview.is_whole:
            self.set_status(503)
        self.finish(overview.to_record())


class CausesApi(Api):
    """Causes."""

    async def get(self) -> None:
        """Answer with the causes of what fits, the most frequent one first."""
        limit, causes = self.limit(), await self.look(causes_of, self.sources, self.filters())
        self.finish(_causes(causes, limit))


class DeadLettersApi(Api):
    """Rows."""

    async def get(self) -> None:
        """Answer with a page of the rows that fit."""
        order = read_order(self.get_query_argument("order", ""))
        place = read_place(self.get_query_argument("place", ""), order)
        size = self.limit()
        rows, total = await self.look(rows_of, self.sources, self.filters(), order=order, place=place, size=size)
        self.finish(
            {
                "total": total,
                "rows": [to_record(row) for row in rows.rows],
                "before": None if rows.before is None else str(rows.before),
                "after": None if rows.after is None else str(rows.after),
            }
        )


class DeadLetterApi(Api):
    """One row."""

    async def get(self, row_id: str) -> None:
        """Answer with all that is known of it."""
        found = await self.look(find_row, self.sources, row_id)
        if found is None:
            raise Refused(404, f"there is no dead letter {row_id}")
        replays = [
            {"replay": each.replay_id, "state": each.state.value, "note": each.note, "at": _iso(each.changed_at)}
            for each in found.replays
        ]
        self.finish(to_record(found.row, with_raw=True) | {"replays": replays})


class PreviewApi(Api):
    """What would be done."""

    async def get(self, action: str) -> None:
        """Answer with what a replay or a discard of what fits would do."""
        filters = self.filters()
        if action == "replay":
            rate = Pacing.read(self.get_query_argument("rate", ""), "").rate
            choice = await self.look(choose_replay, self.sources, filters, rate=rate)
        else:
            choice = await self.look(choose_discard, self.sources, filters)
        self.finish(choice.to_record())


class ReplaysApi(Api):
    """Replays."""

    async def get(self) -> None:
        """Answer with replays, the newest first."""
        before = read_before(self.get_query_argument("before", ""))
        plans = await self.look(plans_of, self.sources, before=before, limit=self.limit())
        self.finish({"replays": [plan.to_record() for plan in plans]})

    async def post(self) -> None:
        """Plan a replay of what fits."""
        self.may_change()
        sent = self.sent("why", "rate", "canary", "expected")
        plan = await self.look(
            begin_replay,
            self.sources,
            self.filters(_values(sent)),
            Pacing.read(sent.get("rate"), sent.get("canary")),
            expected=read_count(sent.get("expected")),
            who=self.who,
            why=self.why(str(sent.get("why") or "")),
        )
        self.set_status(201)
        self.finish(plan.to_record())


class ReplayApi(Api):
    """One replay."""

    async def get(self, number: str) -> None:
        """Answer with how far it is."""
        self.finish((await self.look(find_plan, self.sources, int(number))).to_record())


class SteerApi(Api):
    """Pause, resume and cancel."""

    async def post(self, number: str, what: str) -> None:
        """Do that to a replay."""
        self.may_change()
        why = self.why(str(self.document().get("why") or ""), needed=False)
        self.finish((await self.look(steer, self.sources, int(number), what, who=self.who, why=why)).to_record())


class DiscardsApi(Api):
    """Discards."""

    async def post(self) -> None:
        """Begin to discard what fits."""
        self.may_change()
        sent = self.sent("why", "expected")
        begun = await self.look(
            begin_discard,
            self.sources,
            discards_of(self),
            self.filters(_values(sent)),
            expected=read_count(sent.get("expected")),
            who=self.who,
            why=self.why(str(sent.get("why") or "")),
        )
        self.set_status(202)
        self.finish(begun.to_record())


class DiscardApi(Api):
    """One discard."""

    async def get(self, number: str) -> None:
        """Answer with how far it is."""
        found = discards_of(self).find(int(number))
        if found is None:
            raise Refused(404, f"this Flower knows of no discard {number}")
        self.finish(found.to_record())


class HoldApi(Api):
    """Hold."""

    async def post(self) -> None:
        """Hold all workers."""
        self.may_change()
        why = self.why(str(self.document().get("why") or ""))
        self.finish({"held": True, "recorded": await self.look(hold, self.sources, why=why, who=self.who)})


class ResumeApi(Api):
    """Resume."""

    async def post(self) -> None:
        """End whatever hold there is."""
        self.may_change()
        why = self.why(str(self.document().get("why") or ""), needed=False)
        recorded = await self.look(resume, self.sources, why=why, who=self.who)
        self.finish({"held": False, "recorded": bool(recorded)})


class AuditApi(Api):
    """Who did what, and why."""

    async def get(self) -> None:
        """Answer with what operators did, the latest first."""
        before = read_before(self.get_query_argument("before", ""))
        done = await self.look(actions_of, self.sources, before=before, limit=self.limit())
        self.finish({"actions": [_action(action) for action in done]})


def _causes(causes: Causes, limit: int) -> dict[str, Any]:
    return {
        "total": causes.rows,
        "begin": _iso(causes.begin),
        "bucket_seconds": causes.bucket.total_seconds(),
        "causes": [
            {
                "cause": cause.cause,
                "cause_line": cause.line,
                "rows": cause.rows,
                "first_died_at": _iso(cause.first_died_at),
                "last_died_at": _iso(cause.last_died_at),
                "org": cause.org,
                "counts": list(cause.counts),
            }
            for cause in causes.causes[:limit]
        ],
    }


def _action(action: Action) -> dict[str, Any]:
    return asdict(action) | {"at": _iso(action.at), "details": dict(action.details)}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
