"""START HERE: one request for feedback, and what is answered to it. Pure: time and chance are arguments.

The contract is AquilaX's public description of ``GET /api/v2/ai/feedback/{request_id}/{status}``; ``openapi.yaml``
beside this file is the project's own wording of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from worker.sandbox import fields
from worker.sandbox.responses import Answer, Body, ScriptedResponse, documented

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.sandbox.faults import Faults

__all__ = ["Ask", "decide", "dressed", "judge"]

_ASKS_TO_WAIT: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request for feedback, as it came.

    Attributes:
        request_id: From the path, in small letters: any text.
        status: From the path: any text.
        org: From the query; empty if it is missing or there twice.
        group: Likewise.
        key: The header X-AX-KEY; empty if there is none.
        user_agent: The header User-Agent; empty if there is none.
    """

    request_id: str
    status: str
    org: str
    group: str
    key: str = field(repr=False)
    user_agent: str

    @property
    def names_a_request(self) -> bool:
        """Whether its request_id is a UUID."""
        return fields.is_request_id(self.request_id)


def decide(ask: Ask, behaviour: Faults, *, key: str, elapsed: float, chance: float) -> Answer:
    """Return what a request gets: an outage, a misfortune, or the API's own answer.

    Args:
        ask: The request.
        behaviour: How the sandbox misbehaves.
        key: The key that is accepted.
        elapsed: Seconds since the outage was asked for.
        chance: From 0 to 1, below 1; drawn for each request.
    """
    outage = behaviour.outage and behaviour.outage.answer_at(elapsed)
    return outage or behaviour.misfortune(chance) or judge(ask, behaviour, key=key)


def judge(ask: Ask, behaviour: Faults, *, key: str) -> ScriptedResponse:
    """Return the API's own answer: who asks comes before what is asked, and that before whether it exists."""
    if behaviour.revoked_key or ask.key != key:
        return ScriptedResponse(status=HTTPStatus.UNAUTHORIZED)
    if wrong := _what_is_wrong(ask):
        return ScriptedResponse(status=HTTPStatus.BAD_REQUEST, body=wrong)
    if behaviour.forbids(ask.org, ask.group):
        return ScriptedResponse(status=HTTPStatus.FORBIDDEN)
    if not behaviour.knows(ask.request_id):
        return ScriptedResponse(status=HTTPStatus.NOT_FOUND)
    return ScriptedResponse(status=HTTPStatus.OK)


def dressed(
    reply: ScriptedResponse, behaviour: Faults, *, now: datetime, request_headers: Mapping[str, str]
) -> tuple[Body, Mapping[str, str]]:
    """Return the body and the headers of a reply; its own headers come before the behaviour's."""
    body = documented(reply.status) if reply.body is None else reply.body
    if behaviour.echo_headers:
        body = _with_echo(body, request_headers)
    headers = {"Content-Type": "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"}
    if reply.status in _ASKS_TO_WAIT and behaviour.retry_after is not None:
        headers["Retry-After"] = _retry_after(behaviour.retry_after, form=behaviour.retry_after_form, now=now)
    if reply.status in _REDIRECTS:
        headers["Location"] = behaviour.redirect_to
    return body, headers | {name.title(): value for name, value in reply.headers.items()}


def _what_is_wrong(ask: Ask) -> str:
    """AquilaX documents the text for the organization; the others are worded after it."""
    if not ask.names_a_request:
        return "A valid request_id is required in the URL path"
    if ask.status not in {"true", "false"}:
        return "A valid status is required in the URL path"
    if not ask.org:
        return "A valid organization_id is required in the URL path"
    return "" if ask.group else "A valid group_id is required in the URL path"


def _retry_after(seconds: float, *, form: str, now: datetime) -> str:
    """Both forms carry whole seconds, so a fraction is rounded up: no client is asked to come back too early."""
    if form == "seconds":
        return str(math.ceil(seconds))
    at = (now + timedelta(seconds=seconds)).astimezone(UTC)
    return format_datetime(at.replace(microsecond=0) + timedelta(seconds=at.microsecond > 0), usegmt=True)


def _with_echo(body: Body, request_headers: Mapping[str, str]) -> Body:
    echo = "\n".join(f"{name}: {value}" for name, value in request_headers.items())
    if isinstance(body, str):
        return f"{body}\n{echo}"
    return {**body, "message": f"{body.get('message', '')}\n{echo}"}
