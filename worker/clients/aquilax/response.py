"""Reads one HTTP/1.x response from a socket: https://www.rfc-editor.org/rfc/rfc9112#name-message-body-length.

http.client returns the first response that is no 100, also a 103 that announces a 200; urllib3 and requests return what
it returns. It also knows neither ``Content-Length: 2, 2`` nor a blank before the colon, and waits for the connection's
end instead. h11 and llhttp refuse much of what is read here.

The status decides what becomes of an event, so it counts as soon as the head is whole. A body that breaks off, or whose
end can't be told, is a text less for the operator, and a connection that is not used again.
"""

from __future__ import annotations

import io
import re
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from http.client import BadStatusLine, HTTPException
from typing import TYPE_CHECKING, Final

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from worker.clients.aquilax.incoming import HEAD, STATUS_LINE

if TYPE_CHECKING:
    from worker.clients.aquilax.incoming import Incoming

__all__ = ["BODY", "WITHOUT_BODY", "Reply", "read_response"]

BODY: Final = 64 * 1024
"""Bytes of a body that are read at the most; the dead-letter table keeps the first 4 KiB of them."""

WITHOUT_BODY: Final = frozenset({204, 304})

_SILENCE: Final = 1.0
"""Seconds to wait for more of a body that only the connection's end would end."""

_SWITCHING_PROTOCOLS: Final = 101
"""The one interim status that ends HTTP on its connection. Nothing here asks for it."""

_LINE_ENDS: Final = re.compile(rb"\r?\n")
_CHUNK_SIZE: Final = re.compile(rb"[0-9a-fA-F]{1,16}")
_MOST_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        status: The HTTP status.
        retry_after: The header of that name.
        body: The first of the body, decoded if it was encoded.
    """

    status: int
    retry_after: str | None
    body: bytes


class _Ends(Enum):
    """How a body ends."""

    AT_ONCE = auto()
    BY_LENGTH = auto()
    BY_CHUNKS = auto()
    BY_CLOSING = auto()
    NOT_TOLD = auto()


@dataclass(frozen=True, slots=True)
class _Head:
    """A final status line, and the headers behind it by their names in lower case."""

    minor: int
    status: int
    headers: dict[bytes, bytes]

    def listed(self, name: bytes) -> list[bytes]:
        """The elements of a header that is a list, in lower case."""
        elements = (element.strip().lower() for element in self.headers.get(name, b"").split(b","))
        return [element for element in elements if element]

    @property
    def keeps(self) -> bool:
        """Whether the server says that the connection goes on, and its framing leaves no doubt where the body ends."""
        asked = self.listed(b"connection")
        if b"close" in asked or self.status == _SWITCHING_PROTOCOLS:
            return False
        if self.minor == 0:
            return b"keep-alive" in asked and b"transfer-encoding" not in self.headers
        return not (b"transfer-encoding" in self.headers and b"content-length" in self.headers)


def read_response(incoming: Incoming) -> tuple[Reply, bool]:
    """Read a final response; any number of interim ones may come before it.

    Args:
        incoming: What has come, and the connection.

    Returns:
        The response, and whether the connection can be used again.

    Raises:
        OSError, http.client.HTTPException: No final response came, or none whose head can be read. The connection
            can't be used again.
    """
    head = _read_head(incoming.take_head())
    while 100 <= head.status < 200 and head.status != _SWITCHING_PROTOCOLS:  # noqa: PLR2004 - HTTP's class of interim ones
        head = _read_head(incoming.take_head())
    ends, length, codings = (_Ends.NOT_TOLD, 0, []) if incoming.cut else _framing(head)
    body, whole = _read_body(incoming, ends, length, wanted=not 200 <= head.status < 300)  # noqa: PLR2004 - likewise
    retry_after = head.headers.get(b"retry-after")
    return (
        Reply(
            status=head.status,
            retry_after=None if retry_after is None else retry_after.decode("latin-1"),
            body=_decoded(body, [*head.listed(b"content-encoding"), *codings]),
        ),
        whole and head.keeps and incoming.is_clean(),
    )


def _read_head(raw: bytes) -> _Head:
    first, *lines = _LINE_ENDS.split(raw)
    status_line = STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise BadStatusLine(repr(first[:40]))
    headers: dict[bytes, bytes] = {}
    name = b""
    for line in lines:
        if line.startswith((b" ", b"\t")):
            added = line.strip()
        else:
            name, colon, added = line.partition(b":")
            name, added = name.strip().lower() if colon else b"", added.strip()
            if name in headers:
                headers[name] += b","
        if name:
            headers[name] = b" ".join(filter(None, (headers.get(name), added)))
    return _Head(minor=int(status_line["minor"]), status=int(status_line["status"]), headers=headers)


def _framing(head: _Head) -> tuple[_Ends, int, list[bytes]]:
    """How the body ends, its length if it has one, and the codings of its transfer other than chunks."""
    codings = [coding for coding in head.listed(b"transfer-encoding") if coding != b"identity"]
    lengths = head.listed(b"content-length")
    if head.status in WITHOUT_BODY or head.status == _SWITCHING_PROTOCOLS:
        announced = codings or any(length.strip(b"0") for length in lengths)
        return (_Ends.NOT_TOLD if announced else _Ends.AT_ONCE), 0, []
    if codings:
        by_chunks = codings[-1] == b"chunked" and codings.count(b"chunked") == 1
        others = [coding for coding in codings if coding != b"chunked"]
        return (_Ends.BY_CHUNKS if by_chunks else _Ends.BY_CLOSING), 0, others
    if b"content-length" not in head.headers:
        return _Ends.BY_CLOSING, 0, []
    values = {length.lstrip(b"0") or b"0" for length in lengths if length.isdigit()}
    if len(values) != 1 or not all(length.isdigit() for length in lengths):
        return _Ends.NOT_TOLD, 0, []
    (value,) = values
    return _Ends.BY_LENGTH, BODY + 1 if len(value) > _MOST_DIGITS else int(value), []


def _read_body(incoming: Incoming, ends: _Ends, length: int, *, wanted: bool) -> tuple[bytes, bool]:
    """Return as much of a body as is kept, and whether that is the whole.

    Args:
        incoming: Where it comes from.
        ends: How it ends.
        length: How long it is, if that is how.
        wanted: Whether it is worth waiting for though the connection can't be used again.
    """
    body = bytearray()
    whole = False
    try:
        match ends:
            case _Ends.AT_ONCE:
                whole = True
            case _Ends.BY_LENGTH:
                whole = incoming.take(min(length, BODY), body) and length <= BODY
            case _Ends.BY_CHUNKS:
                whole = _take_chunks(incoming, body)
            case _Ends.BY_CLOSING if wanted:
                while len(body) < BODY and (incoming.got or incoming.more(silence=_SILENCE)):
                    incoming.take(min(len(incoming.got), BODY - len(body)), body)
    except (OSError, HTTPException):
        pass  # the status has come: a body that breaks off changes nothing
    return bytes(body), whole


def _take_chunks(incoming: Incoming, body: bytearray) -> bool:
    """Take the chunks of a body and the trailers behind it; return whether they have ended."""
    while True:
        size = incoming.take_line().partition(b";")[0].strip(b" \t")
        if not _CHUNK_SIZE.fullmatch(size):
            raise HTTPException("the size of a chunk can't be read")
        length = int(size, 16)
        if not length:
            return _take_trailers(incoming)
        room = BODY - len(body)
        if not incoming.take(min(length, room), body) or length > room:
            return False
        if incoming.take_line():
            raise HTTPException("a chunk is longer than its size says")


def _take_trailers(incoming: Incoming) -> bool:
    taken = 0
    while line := incoming.take_line():
        taken += len(line)
        if taken > HEAD:
            return False
    return True


def _decoded(body: bytes, codings: list[bytes]) -> bytes:
    """Return a body as it was before it was encoded; nothing, if that can't be told."""
    if not codings:
        return body
    headers = {"Content-Encoding": b", ".join(codings).decode("latin-1")}
    try:
        with closing(HTTPResponse(io.BytesIO(body), headers=headers, preload_content=False)) as encoded:
            return encoded.read(BODY, decode_content=True)
    except (HTTPError, OSError):
        return b""
