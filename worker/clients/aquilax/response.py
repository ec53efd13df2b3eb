"""Reads one HTTP/1.x response from a connection: https://www.rfc-editor.org/rfc/rfc9112.

The status decides what becomes of an event, so it counts as soon as the head is whole. A body that breaks off, or whose
end can't be told, is a text less for the operator, and a connection that is not used again.

httptools (llhttp, the parser of Node.js) parses the final response. Interim ones never reach it: behind one with
`Connection: close` it reads nothing, or else joins the digits of that one's Content-Length and the final one's.
It refuses heads that some servers and proxies send: two Content-Lengths, folded lines, bare newlines, a blank before a
colon, two before the status. Such a response counts by its status and its Retry-After; its body is taken as it comes,
and the connection is closed.
"""

from __future__ import annotations

import io
import re
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from typing import TYPE_CHECKING, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    import socket

__all__ = ["BODY", "Deadline", "Reply", "exchange", "read_response"]

BODY: Final = 64 * 1024
"""Bytes of a body that are read at the most; the dead-letter table keeps the first 4 KiB of them."""

_HEAD: Final = 64 * 1024
"""Bytes of a head that are read at the most: as much as http.client takes for one line."""

_INTERIM: Final = 10_000
"""Interim responses that may come before the final one."""

_SILENCE: Final = 1.0
"""Seconds to wait for more of a body that only the connection's end would end."""

_SILENCE_UNPARSED: Final = 0.2
"""Likewise behind a head that the parser refuses: the connection's end may never have been meant."""

_AT_ONCE: Final = 16 * 1024
_SWITCHING_PROTOCOLS: Final = 101
"""The one interim status that ends HTTP on its connection. Nothing here asks for it."""

_WITHOUT_BODY: Final = frozenset({_SWITCHING_PROTOCOLS, 204, 304})
_START: Final = b"HTTP/1."
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.\d[ \t]+([1-9]\d\d)(?:[ \t].*)?\r?", re.DOTALL)
_HEAD_ENDS: Final = re.compile(rb"\n\r?\n")


class Deadline:
    """When a response must have come.

    Args:
        timeout: In so many seconds from now.
    """

    __slots__ = ("_at",)

    def __init__(self, timeout: float) -> None:
        self._at = time.monotonic() + timeout

    def left(self) -> float:
        """Return how many seconds are left.

        Raises:
            TimeoutError: None are.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response took longer than the whole request may take")
        return left


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


class _Parsed:
    """What httptools has parsed of a final response; its methods named ``on_…`` are what httptools calls.

    Attributes:
        status: Its status, once its head is whole; 0 before.
        headers: Of its head, by their names in lower case.
        body: What has come of it.
        complete: Whether the body has ended.
        framed: Whether the head says where the body ends.
        refused: Whether the parser takes no more.
        keeps: Whether the connection goes on behind the response, and no doubt is left where that ends.
    """

    __slots__ = (
        "_parser", "body", "complete", "framed", "headers", "keeps", "on_body", "on_header", "refused", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.on_header = self.headers.__setitem__
        self.body = bytearray()
        self.on_body = self.body.extend
        self.framed = self.complete = self.refused = self.keeps = False
        self._parser = HttpResponseParser(self)
        # As old proxies send them: a length beside chunks, which count; a blank behind a chunk's size.
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True, lenient_spaces_after_chunk_size=True)

    def close(self) -> None:
        """Break the cycle with the parser, so that no response waits for a garbage collection."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Parse what has come."""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.refused = True

    def on_message_begin(self) -> None:
        """Refuse a second response: nothing asked for it."""
        if self.complete:
            raise HTTPException("more came than was asked for")

    def on_headers_complete(self) -> None:
        """Take how the body ends, and whether another reader may see another end."""
        status = self._parser.get_status_code()
        if not _is_final(status):
            raise HTTPException("an interim response")
        self.status = status
        self.headers = headers = {name.lower(): value for name, value in self.headers.items()}  # trailers come later
        length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
        if status in _WITHOUT_BODY:
            self.framed, doubtful = True, bool(coding or (length and length.strip(b"0 \t")))
        elif coding is not None:
            self.framed = coding.lower().rstrip().endswith(b"chunked")
            doubtful = length is not None or self._parser.get_http_version() == "1.0"
        else:
            self.framed, doubtful = length is not None, False
        # Outside a callback should_keep_alive() tells of the next message.
        self.keeps = not doubtful and status != _SWITCHING_PROTOCOLS and self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """Know that no more is to come."""
        self.complete = True


def exchange(sock: socket.socket, request: bytes, *, timeout: float) -> tuple[Reply, bool]:
    """Send a GET over a connection on which nothing is under way, and read its response; see `read_response`.

    Args:
        sock: The connection.
        request: The whole request.
        timeout: Seconds until the response's last byte.
    """
    deadline = Deadline(timeout)
    sock.settimeout(timeout)
    sock.sendall(request)
    return read_response(sock, deadline)


def read_response(sock: socket.socket, deadline: Deadline) -> tuple[Reply, bool]:
    """Return a final response, behind interim ones or none, and whether the connection can be used again.

    Raises:
        OSError, http.client.HTTPException: No final response came by the deadline, or none whose head can be read. The
            connection can't be used again.
    """
    got = _receive(sock, deadline)
    if got.startswith(_START) and (response := _read_final(sock, deadline, got)):  # as it nearly always is
        return response
    for _ in range(_INTERIM):
        status, ends, got = _read_head(sock, deadline, got)
        if _is_final(status):
            parsable = ends and _read_final(sock, deadline, got)
            return parsable or (_read_unparsed(sock, deadline, status, got, ends), False)
        got = got[ends:]
    raise HTTPException(f"no final response behind {_INTERIM} interim ones")


def _receive(sock: socket.socket, deadline: Deadline, *, silence: float | None = None) -> bytes:
    """Read once, and wait no longer than ``silence`` seconds for it, if they are given."""
    left = deadline.left()
    sock.settimeout(left if silence is None else min(left, silence))
    return sock.recv(_AT_ONCE)


def _read_head(sock: socket.socket, deadline: Deadline, got: bytes) -> tuple[int, int, bytes]:
    """Read until a head is whole, or too long.

    Returns:
        The status; where the head ends, 0 if it is too long; and what has come, from the head's first byte.
    """
    searched = 0
    while True:
        got = got.lstrip(b"\r\n")
        first, newline, _ = got.partition(b"\n")
        status_line = _STATUS_LINE.fullmatch(first) if newline else None
        if (newline and not status_line) or not got.startswith(_START[: len(got)]):
            raise BadStatusLine(repr(first[:40]))
        if status_line and (end := _HEAD_ENDS.search(got, max(0, searched - 2))):
            return int(status_line[1]), end.end(), got
        if len(got) > _HEAD:
            if status_line is None:
                raise BadStatusLine(repr(first[:40]))
            return int(status_line[1]), 0, got
        searched = len(got)
        some = _receive(sock, deadline)
        if not some:
            raise RemoteDisconnected("the connection was closed before the response's head had come")
        got += some


def _read_final(sock: socket.socket, deadline: Deadline, got: bytes) -> tuple[Reply, bool] | None:
    """Read the rest of a response; None if this is not the whole head of a final one, or the parser refuses it."""
    parsed = _Parsed()
    try:
        parsed.feed(got)
        if not parsed.status:
            return None
        if not parsed.complete and (parsed.framed or not _is_success(parsed.status)):
            with suppress(OSError):  # the status has come: a body that breaks off changes nothing
                _read_body(sock, deadline, parsed)
        pending = getattr(sock, "pending", None)  # what TLS has deciphered, and nothing else would tell of
        reusable = parsed.complete and parsed.keeps and not parsed.refused and not (pending and pending())
        return _reply(parsed.status, parsed.headers, parsed.body), reusable
    finally:
        parsed.close()


def _read_body(sock: socket.socket, deadline: Deadline, parsed: _Parsed) -> None:
    """Read as much of a body as is kept."""
    silence = None if parsed.framed else _SILENCE
    while not (parsed.complete or parsed.refused) and len(parsed.body) < BODY:
        some = _receive(sock, deadline, silence=silence)
        if not some:
            return
        parsed.feed(some)


def _read_unparsed(sock: socket.socket, deadline: Deadline, status: int, got: bytes, ends: int) -> Reply:
    """Read what can be read of a response whose head is too long, or refused by the parser: see `_read_head`."""
    if not ends:
        return Reply(status, None, b"")
    lines = (line.partition(b":") for line in got[:ends].split(b"\n"))
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    body = bytearray(got[ends:])
    with suppress(OSError):
        while not _is_success(status) and len(body) < BODY:
            if not (some := _receive(sock, deadline, silence=_SILENCE_UNPARSED)):
                break
            body += some
    return _reply(status, headers, body)


def _is_final(status: int) -> bool:
    return status >= 200 or status == _SWITCHING_PROTOCOLS  # noqa: PLR2004 - the 1xx statuses are interim


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - the 2xx statuses


def _reply(status: int, headers: dict[bytes, bytes], body: bytearray) -> Reply:
    retry_after = headers.get(b"retry-after")
    return Reply(
        status=status,
        retry_after=None if retry_after is None else retry_after.strip().decode("latin-1"),
        body=_decoded(bytes(body[:BODY]), headers.get(b"content-encoding")),
    )


def _decoded(body: bytes, codings: bytes | None) -> bytes:
    """Return a body as it was before it was encoded; nothing, if that can't be told."""
    if not codings:
        return body
    headers = {"Content-Encoding": codings.decode("latin-1")}
    try:
        with closing(HTTPResponse(io.BytesIO(body), headers=headers, preload_content=False)) as encoded:
            return encoded.read(BODY, decode_content=True)
    except (HTTPError, OSError):
        return b""
