"""What an answer of AquilaX means: the event's fault and our fault are different things."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TIMEOUT", "Classification", "Response", "classify", "message_of"]

TIMEOUT: Final = "timeout"
"""How the text of a response begins that did not come in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back for one request.

    Attributes:
        status: The HTTP status, or None if no answer came.
        text: The answer's body as text, or what went wrong where no answer came; cleaned and without secrets.
        retry_after: How long AquilaX asks us to wait, if it does.
        keyless: Whether nothing was sent, because there is no key for the event's org.
        took: How long it was waited for. Answers that say the same are the same, however long they took.
    """

    status: int | None
    text: str = ""
    retry_after: timedelta | None = None
    keyless: bool = False
    took: timedelta = field(default=timedelta(), compare=False)

    @property
    def message(self) -> str:
        """What it says, in a few words: ``Request ID not found``, ``Service Unavailable``, ``timeout``."""
        printable = "".join(char if char.isprintable() else " " for char in message_of(self.text))
        text = " ".join(printable.split())
        if len(text) > _FEW_WORDS:
            text = f"{text[:_FEW_WORDS]}…"
        return text or ("no answer" if self.status is None else _phrase(self.status))

    @property
    def summary(self) -> str:
        """A short text: ``404 Request ID not found``, ``503 Service Unavailable``, ``timeout``."""
        return self.message if self.status is None else f"{self.status} {self.message}".strip()


class Classification(Enum):
    """What an answer means for the event."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    """This event is refused: it would be refused again."""
    FORBIDDEN = "forbidden"
    """The key may not speak for this org or group."""
    UNAUTHORIZED = "unauthorized"
    """Our key or base URL is wrong: every event would fail, and none is to blame."""
    RETRYABLE = "retryable"
    """AquilaX can't take it at the moment."""


_BY_STATUS: Final[Mapping[int, Classification]] = {
    HTTPStatus.UNAUTHORIZED: Classification.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: Classification.FORBIDDEN,
    HTTPStatus.REQUEST_TIMEOUT: Classification.RETRYABLE,
    HTTPStatus.TOO_EARLY: Classification.RETRYABLE,
    HTTPStatus.TOO_MANY_REQUESTS: Classification.RETRYABLE,
}
_BY_CLASS: Final[Mapping[int, Classification]] = {
    2: Classification.DELIVERED,
    3: Classification.UNAUTHORIZED,
    4: Classification.REJECTED,
    5: Classification.RETRYABLE,
}


def classify(answer: Response) -> Classification:
    """Return what an answer means.

    Unknown is RETRYABLE: a needless retry costs a request, a drop costs feedback.
    """
    if answer.status is None:
        return Classification.UNAUTHORIZED if answer.keyless else Classification.RETRYABLE
    by_class = _BY_CLASS.get(answer.status // 100, Classification.RETRYABLE)
    return _BY_STATUS.get(answer.status, by_class)


_FEW_WORDS: Final = 200
"""Characters of an answer that a line of the log, or of Flower, has room for."""


def message_of(text: str) -> str:
    """AquilaX's errors are JSON, ``{"code": 404, "message": "Request ID not found"}``: the message says it all.

    JSON can spell what no database stores and no UTF-8 carries: a NUL, half a surrogate pair.
    """
    if text.startswith("{"):
        with suppress(ValueError, RecursionError):
            message = json.loads(text).get("message")
            return _storable(message) if isinstance(message, str) else text
    return text


def _storable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
