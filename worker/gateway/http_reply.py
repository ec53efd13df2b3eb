"""What the gateway answers a request with, and how that is sent."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from starlette.types import Send

__all__ = ["RETRY_SOON", "HttpReply", "json_reply", "problem", "text_problem"]

RETRY_SOON: Final = (b"retry-after", b"1")
"""Seconds until a client may ask again: Redis comes back in seconds, and the client has nothing else to wait for."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A whole response.

    Attributes:
        status: The status code.
        body: The content.
        content_type: Its type.
        headers: More headers, in small letters.
    """

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send, *, more_body: bool = False) -> None:
        """Send it.

        Args:
            send: The ASGI callable.
            more_body: Whether the connection is kept until another, empty part of the body follows.
        """
        length = b"%d" % len(self.body)
        headers = [(b"content-type", self.content_type), (b"content-length", length), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": more_body})


def json_reply(status: int, content: object, *headers: tuple[bytes, bytes]) -> HttpReply:
    """Return a response of JSON."""
    return HttpReply(status=status, body=_encode(content), headers=headers)


def problem(status: HTTPStatus, message: str, *headers: tuple[bytes, bytes]) -> HttpReply:
    """Return an error in the form of AquilaX's: its status and a message."""
    if status is HTTPStatus.SERVICE_UNAVAILABLE and not headers:
        headers = (RETRY_SOON,)
    return json_reply(status, {"code": status.value, "message": message}, *headers)


def text_problem(status: HTTPStatus, message: str) -> HttpReply:
    """Return an error in plain text, as AquilaX answers 400 and 500."""
    return HttpReply(status=status, body=message.encode(), content_type=b"text/plain; charset=utf-8")
