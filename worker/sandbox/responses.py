"""What the sandbox can answer: a reply, or silence; and scripts, which are lists of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from worker.sandbox import fields
from worker.sandbox.fields import InvalidFieldError

__all__ = [
    "LONGEST_LATENCY",
    "Answer",
    "ResponseScript",
    "ScriptedResponse",
    "Silence",
    "documented",
    "response_from_json",
    "response_to_json",
]

LONGEST_LATENCY: Final = 3600.0
"""Seconds: longer than any client waits."""

_TEXTS: Final[Mapping[int, str]] = {
    200: "Feedback submitted successfully",
    400: "A valid organization_id is required in the URL path",
    500: "Failed to make request to downstream API",
}
"""Answers that are ``text/plain``; these and the next after the public description of the API."""

_MESSAGES: Final[Mapping[int, str]] = {
    401: "Invalid authentication",
    403: "Insufficient permissions",
    404: "Request ID not found",
    502: "Downstream service error",
    503: "Downstream service unavailable",
    504: "Downstream service timeout",
}
"""Answers that are JSON with ``code`` and ``message``."""

_FINAL: Final = range(200, 600)
"""Statuses that end a request; a 1xx announces another answer."""

_HEADER_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})

Body: TypeAlias = str | Mapping[str, Any]
"""Text is sent as ``text/plain``, an object as ``application/json``."""


class Silence(StrEnum):
    """No answer at all."""

    HANG = "hang"
    """The request is taken, and nothing is ever answered."""
    RESET = "reset"
    """The connection is reset (RST)."""
    CLOSE = "close"
    """The connection is closed in good order (FIN), without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedResponse:
    """An answer with a status.

    Attributes:
        status: The HTTP status, 200 to 599.
        body: What it says; the API's own text for the status if None.
        headers: Headers on top of the usual ones.
        latency: Seconds before it is given; the behaviour's own latency if None.
    """

    status: int
    body: Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    latency: float | None = None


Answer: TypeAlias = ScriptedResponse | Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseScript:
    """Answers to give for one request_id, in order, before it is treated like any other.

    Attributes:
        answers: The answers, at least one.
        repeat_last: Whether the last of them is given for ever.
    """

    answers: Sequence[Answer]
    repeat_last: bool = False

    @classmethod
    def from_json(cls, value: object) -> ResponseScript:
        """Read a script from ``{"answers": [503, "reset", {"status": 200}], "repeat_last": false}``.

        Raises:
            InvalidFieldError: A field is wrong; it says which, and what is expected.
        """
        given = fields.known("script", value, ("answers", "repeat_last"))
        answers = given.get("answers")
        if not isinstance(answers, list) or not answers:
            raise InvalidFieldError("answers", answers, "a list of one or more answers")
        return cls(
            answers=tuple(response_from_json(f"answers.{at}", answer) for at, answer in enumerate(answers)),
            repeat_last=fields.switch("repeat_last", given.get("repeat_last", False)),
        )


def documented(status: int) -> Body:
    """Return what the API says with a status; for one that it does not document, the status as text."""
    if text := _TEXTS.get(status):
        return text
    return {"code": status, "message": _MESSAGES.get(status) or _phrase(status)}


def response_from_json(name: str, value: object) -> Answer:
    """Read an answer: a status, ``"hang"``, ``"reset"``, ``"close"``, or an object with a status.

    Args:
        name: What the answer is called where it is wrong.
        value: The JSON value.

    Raises:
        InvalidFieldError: It is none of these.
    """
    if isinstance(value, str) and value in set(Silence):
        return Silence(value)
    if not isinstance(value, Mapping):
        return ScriptedResponse(status=_status(name, value))
    given = fields.known(name, value, ("status", "body", "headers", "latency"))
    latency = given.get("latency")
    return ScriptedResponse(
        status=_status(f"{name}.status", given.get("status")),
        body=_body(f"{name}.body", given.get("body")),
        headers=_headers(f"{name}.headers", given.get("headers", {})),
        latency=None if latency is None else fields.number(f"{name}.latency", latency, longest=LONGEST_LATENCY),
    )


def response_to_json(answer: Answer | int | str) -> object:
    """Return an answer as `response_from_json` reads it."""
    if not isinstance(answer, ScriptedResponse):
        return answer
    given = {"body": answer.body, "headers": dict(answer.headers) or None, "latency": answer.latency}
    return {"status": answer.status, **{name: value for name, value in given.items() if value is not None}}


def _status(name: str, value: object) -> int:
    """To JSON, 503.0 is an integer as 503 is."""
    if not isinstance(value, bool) and isinstance(value, int | float) and value in _FINAL:
        return int(value)
    expected = 'a status from 200 to 599, "hang", "reset", "close" or an object with a status'
    raise InvalidFieldError(name, value, expected)


def _body(name: str, value: object) -> Body | None:
    if value is None or isinstance(value, str | Mapping):
        return value
    raise InvalidFieldError(name, value, "text or an object")


def _headers(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidFieldError(name, value, "an object of headers")
    for header, text in value.items():
        if not _HEADER_NAME.fullmatch(header) or header.lower() in _FRAMING:
            raise InvalidFieldError(name, header, "names of headers, other than those that frame the body")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise InvalidFieldError(f"{name}.{header}", text, "printable ASCII")
    return dict(value)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
