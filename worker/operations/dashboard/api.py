"""The same things for programs: JSON under ``/api/feedback``, beside Flower's own API."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from worker.delivery.org_holds import key_scope, org_scope
from worker.operations.dashboard.access_control import is_simple
from worker.operations.dashboard.action_views import discards_of
from worker.operations.dashboard.dead_letter_views import find_row, read_order, read_place, rows_of
from worker.operations.dashboard.documents import number_in, read_document, text_in, values_in
from worker.operations.dashboard.filters import NAMES
from worker.operations.dashboard.handler import Handler, RequestRefused, explained, whole
from worker.operations.dashboard.overview_views import hold, is_held, look, read_org, resume
from worker.operations.dashboard.previews import (
    Pacing,
    begin_discard,
    choose_discard,
    choose_replay,
    plan_replay,
    read_canary,
    read_count,
    read_edit,
    read_rate,
)
from worker.operations.dashboard.replay_views import actions_of, plan_record, plans_of, read_before, steer
from worker.operations.dashboard.trace_views import PATIENCE, find_event
from worker.operations.event_trace.lookup import read_search
from worker.operations.event_trace.timeline import story_record
from worker.operations.export import to_record
from worker.operations.tokens import Token, TokenRefused, authenticate

if TYPE_CHECKING:
    from datetime import datetime

    from worker.operations.dashboard.filters import Filters
    from worker.operations.dashboard.sources import Sources

__all__ = [
    "ApiHandler",
    "AuditApi",
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
    "TraceApi",
]

_LIMIT: Final = 50
_MOST: Final = 500


class ApiHandler(Handler):
    """What answers in JSON."""

    async def take_token(self) -> None:
        """Let a program with a valid token in, under the token's name and no other (401 if it is not valid)."""
        if (sent := self.token_sent) is None:
            return
        try:
            self.api_token = await self.look(token_of, self.sources, sent)
        except TokenRefused as refused:
            raise RequestRefused(401, f"This login is refused: {refused}.") from None
        self.current_user = self.actor

    def check_token(self) -> None:
        """Take only what no page of another site can send: JSON, with a header that a browser would ask about first.

        A browser adds no API token by itself, so a request that brings one needs neither.
        """
        if self.token_sent is not None:
            return
        headers = self.request.headers
        kind, requested_with = headers.get("Content-Type", ""), headers.get("X-Requested-With")
        if is_simple(content_type=kind, requested_with=requested_with):
            raise RequestRefused(403, "a change needs Content-Type: application/json and the header X-Requested-With")

    def say(self, title: str, text: str, *, do: str = "") -> None:
        """Answer with a problem, as JSON."""
        self.finish({"error": text, "title": title} | ({"do": do} if do else {}))

    def sent(self, *names: str) -> dict[str, Any]:
        """Return the document that was sent. Another field, or one in the address, is refused: it may be a filter."""
        self.asked()
        with explained():
            return read_document(self.request.body, names)

    def chosen(self, document: dict[str, Any]) -> Filters:
        """Return the filters of a document. Raises `RequestRefused` if one can't be read."""
        return self.filters(values_in(document))

    def comment_in(self, document: dict[str, Any], *, needed: bool = True) -> str:
        """Return the document's ``comment``; see `Handler.read_comment`."""
        with explained():
            return self.read_comment(text_in(document, "comment"), needed=needed)

    def number(self, document: dict[str, Any], name: str) -> str | None:
        """Return a numeric field as text; None if there is none. Raises `RequestRefused` if it is no number."""
        with explained():
            return number_in(document, name)

    def _name_in(self, document: dict[str, Any], name: str) -> str | None:
        """Return a name; None if it is not there. One that is empty would mean everything, and is refused."""
        if name not in document:
            return None
        with explained():
            return read_org(text_in(document, name), field=name)

    def confirmed(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return what a change of rows needs besides them: their number in the preview, who asks, and why."""
        expected = read_count(self.number(document, "expected"))
        return {"expected": expected, "actor": self.actor, "comment": self.comment_in(document)}

    def limit(self) -> int:
        """Return how many of a list are wanted. Raises `RequestRefused` if it is no such number."""
        return whole("limit", self.get_query_argument("limit", str(_LIMIT)), least=1, most=_MOST)


class OverviewApi(ApiHandler):
    """How it goes."""

    async def get(self) -> None:
        """Answer with what the overview shows."""
        self.asked()
        overview = await self.look(look, self.sources)
        if not overview.is_whole:
            self.set_status(503)
        self.finish(overview.to_record())


class TraceApi(ApiHandler):
    """What became of one press."""

    async def get(self, text: str) -> None:
        """Answer with all that is known of a request_id; of its beginning, if it is the only one that begins so."""
        self.asked()
        with explained():
            wanted, is_whole = read_search(text)
        found = await self.sources.look(lambda: find_event(self.sources, wanted, is_whole=is_whole), patience=PATIENCE)
        if found.trace is None:
            self.set_status(409 if found.matches else 503 if found.problems else 404)
            named = (
                f"{len(found.matches)} request_ids begin with {wanted}"
                if found.matches
                else f"nothing begins with {wanted}"
            )
            self.finish(
                {
                    "title": "Not one",
                    "error": named,
                    "request_ids": list(found.matches),
                    "problems": list(found.problems),
                }
            )
            return
        if not found.trace.is_known:
            self.set_status(404 if found.trace.is_whole else 503)
        self.finish(story_record(found.trace))


class DeadLettersApi(ApiHandler):
    """Rows."""

    async def get(self) -> None:
        """Answer with a page of the rows that fit."""
        self.asked("order", "place", "limit", *NAMES)
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


class DeadLetterApi(ApiHandler):
    """One row."""

    async def get(self, row_id: str) -> None:
        """Answer with all that is known of it."""
        self.asked()
        found = await self.look(find_row, self.sources, row_id)
        if found is None:
            raise RequestRefused(404, f"there is no dead letter {row_id}")
        replays = [
            {"replay": each.replay_id, "state": each.state.value, "comment": each.comment, "at": _iso(each.changed_at)}
            for each in found.replays
        ]
        self.finish(to_record(found.row, with_raw=True) | {"replays": replays})


class PreviewApi(ApiHandler):
    """What would be done."""

    async def get(self, action: str) -> None:
        """Answer with what a replay or a discard of what fits would do."""
        self.asked("rate", "set_org", "set_group", *NAMES)
        filters = self.filters()
        if action == "replay":
            rate = read_rate(self.get_query_argument("rate", None))
            org, group = (self.get_query_argument(name, None, strip=False) for name in ("set_org", "set_group"))
            edit = read_edit(Pacing(set_org=org, set_group=group))
            choice = await self.look(choose_replay, self.sources, filters, rate=rate, edit=edit)
        else:
            choice = await self.look(choose_discard, self.sources, filters)
        self.finish(choice.to_record())


class ReplaysApi(ApiHandler):
    """Replays."""

    async def get(self) -> None:
        """Answer with replays, the newest first."""
        self.asked("before", "limit")
        before = read_before(self.get_query_argument("before", ""))
        plans = await self.look(plans_of, self.sources, before=before, limit=self.limit())
        self.finish({"replays": [plan.to_record() for plan in plans]})

    async def post(self) -> None:
        """Plan a replay of what fits."""
        self.may_change()
        sent = self.sent("comment", "rate", "canary", "begins_at", "set_org", "set_group", "expected", *NAMES)
        with explained():
            begins = text_in(sent, "begins_at")
            org, group = (text_in(sent, name) if name in sent else None for name in ("set_org", "set_group"))
        rate, canary = read_rate(self.number(sent, "rate")), read_canary(self.number(sent, "canary"))
        pacing = Pacing(rate=rate, canary=canary, begins=begins, set_org=org, set_group=group)
        plan = await plan_replay(self.sources, self.chosen(sent), pacing, **self.confirmed(sent))
        self.set_status(201)
        self.finish(plan.to_record())


class ReplayApi(ApiHandler):
    """One replay."""

    async def get(self, number: str) -> None:
        """Answer with how far it is."""
        self.asked()
        self.finish(await self.look(plan_record, self.sources, int(number)))


class SteerApi(ApiHandler):
    """Pause, resume and cancel."""

    async def post(self, number: str, what: str) -> None:
        """Do that to a replay."""
        self.may_change()
        comment = self.comment_in(self.sent("comment"), needed=False)
        plan = await self.look(steer, self.sources, int(number), what, actor=self.actor, comment=comment)
        self.finish(plan.to_record())


class DiscardsApi(ApiHandler):
    """Discards."""

    async def post(self) -> None:
        """Begin to discard what fits."""
        self.may_change()
        sent = self.sent("comment", "expected", *NAMES)
        discards, chosen = discards_of(self), self.chosen(sent)
        begun = await self.look(begin_discard, self.sources, discards, chosen, **self.confirmed(sent))
        self.set_status(202)
        self.finish(begun.to_record())


class DiscardApi(ApiHandler):
    """One discard."""

    async def get(self, number: str) -> None:
        """Answer with how far it is."""
        self.asked()
        found = discards_of(self).find(int(number))
        if found is None:
            raise RequestRefused(404, f"this Flower knows of no discard {number}")
        self.finish(found.to_record())


class HoldApi(ApiHandler):
    """Hold."""

    async def post(self) -> None:
        """Hold all workers, or one org."""
        self.may_change()
        sent = self.sent("comment", "org")
        comment, org = self.comment_in(sent), self._name_in(sent, "org")
        recorded = await self.look(hold, self.sources, comment=comment, actor=self.actor, org=org)
        self.finish({"held": True, "recorded": recorded})


class ResumeApi(ApiHandler):
    """Resume."""

    async def post(self) -> None:
        """End the hold by hand, or where there is none whatever hold there is; say whether one stands."""
        self.may_change()
        sent = self.sent("comment", "org", "key")
        comment, org, key = self.comment_in(sent, needed=False), self._name_in(sent, "org"), self._name_in(sent, "key")
        if org is not None and key is not None:
            raise RequestRefused(400, "key: expected an org or a key, not both")
        scope = org_scope(org) if org is not None else None if key is None else key_scope(key)
        recorded = await self.look(resume, self.sources, comment=comment, actor=self.actor, scope=scope)
        self.finish({"held": await self.look(is_held, self.sources, scope), "recorded": bool(recorded)})


class AuditApi(ApiHandler):
    """Who did what, and why."""

    async def get(self) -> None:
        """Answer with what operators did, the latest first."""
        self.asked("before", "limit")
        before = read_before(self.get_query_argument("before", ""))
        done = await self.look(actions_of, self.sources, before=before, limit=self.limit())
        records = [asdict(action) | {"at": _iso(action.at), "details": dict(action.details)} for action in done]
        self.finish({"actions": records})


def token_of(sources: Sources, sent: str) -> Token:
    """Return the token that a program sent. Raises `TokenRefused` if it is not valid."""
    return authenticate(sources.engine(), sent)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
