"""One request over a connection that is open, and its answer: the plain case at once, every other by the library.

http.client, urllib3 and requests take some 0.2 ms of a processor for a request and its answer, most of it for what
AquilaX does not say: they are ready for anything. An answer that says nothing out of the ordinary is read here, in a
tenth of that. Whatever else it says, http.client reads it from its first byte.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING, Final

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse
from urllib3.exceptions import HTTPError

from worker.deadline import Deadline, DeadlineResponse

if TYPE_CHECKING:
    import socket

__all__ = ["BODY", "Reply", "exchange", "reply_of"]

BODY: Final = 64 * 1024
"""Bytes of a body that are read at the most; the dead-letter table keeps the first 4 KiB of them."""

_HEAD: Final = 64 * 1024
"""Bytes of an answer's head, after which it is not plain; http.client takes no line that is longer."""

_AT_ONCE: Final = 16 * 1024

_PLAIN_STATUS: Final = {f"HTTP/1.1 {status}".encode(): status for status in range(200, 600)}
_STATUS_ENDS: Final = len(b"HTTP/1.1 200")
_AFTER_STATUS: Final = frozenset({b"", b" "})
_WITHOUT_BODY: Final = frozenset({204, 304})
_OUT_OF_THE_ORDINARY: Final = frozenset({b"transfer-encoding", b"content-encoding", b"upgrade"})
_READ: Final = frozenset({b"content-length", b"retry-after", b"connection"})
"""What is read of a head, and may stand there once."""
_MOST_DIGITS: Final = 15
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""What a header's name is made of, in lower case: https://www.rfc-editor.org/rfc/rfc9110#name-tokens."""


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


@dataclass(frozen=True, slots=True)
class _Head:
    """A plain answer, up to its body, and the length of that."""

    status: int
    retry_after: str | None
    length: int
    keeps: bool


def exchange(sock: socket.socket, request: bytes, *, timeout: float) -> tuple[Reply, bool]:
    """Send a GET and read its answer.

    Args:
        sock: A connection on which nothing is under way.
        request: The whole request.
        timeout: Seconds until the answer's last byte.

    Returns:
        The answer, and whether the connection can be used again.

    Raises:
        OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: No answer came, or none that can be read. The
            connection can't be used again.
    """
    read = _Reading(sock, timeout)
    sock.settimeout(timeout)
    sock.sendall(request)
    if not read.more():
        raise RemoteDisconnected("Remote end closed connection without response")
    while (ends := read.got.find(b"\r\n\r\n")) < 0 and len(read.got) <= _HEAD and read.more():
        pass
    head = _plain(read.got[:ends]) if 0 <= ends <= _HEAD else None
    if head is None or head.length > BODY:
        return _by_the_book(sock, read.got, read.deadline.left())
    whole = ends + len(b"\r\n\r\n") + head.length
    try:
        while len(read.got) < whole and read.more():
            pass
    except OSError:
        pass  # the status has come: a body that breaks off changes nothing
    body = read.got[whole - head.length : whole]
    return Reply(head.status, head.retry_after, body), head.keeps and len(read.got) == whole


class _Reading:
    """What has come so far."""

    __slots__ = ("_sock", "deadline", "got")

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._sock = sock
        self.deadline = Deadline(timeout)
        self.got = b""

    def more(self) -> bool:
        """Read once; return whether anything came."""
        self._sock.settimeout(self.deadline.left())
        some = self._sock.recv(_AT_ONCE)
        self.got += some
        return bool(some)


def _plain(head: bytes) -> _Head | None:
    """Read a head in which nothing is out of the ordinary; None if something is."""
    first, *lines = head.split(b"\r\n")
    status = _PLAIN_STATUS.get(first[:_STATUS_ENDS])
    if status is None or first[_STATUS_ENDS : _STATUS_ENDS + 1] not in _AFTER_STATUS:
        return None
    if len(lines) != head.count(b"\n"):  # a line that ends otherwise
        return None
    found: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name or name.translate(None, _TOKEN) or name in _OUT_OF_THE_ORDINARY:
            return None
        if name in _READ:
            if name in found:
                return None
            found[name] = value.strip()
    length = found.get(b"content-length", b"0" if status in _WITHOUT_BODY else b"")
    if not length.isdigit() or len(length) > _MOST_DIGITS:
        return None
    retry_after = found.get(b"retry-after")
    return _Head(
        status=status,
        retry_after=None if retry_after is None else retry_after.decode("latin-1"),
        length=0 if status in _WITHOUT_BODY else int(length),
        keeps=b"close" not in found.get(b"connection", b"").lower(),
    )


def _by_the_book(sock: socket.socket, got: bytes, left: float) -> tuple[Reply, bool]:
    """Let http.client and urllib3 read an answer of which this much has come."""
    sock.settimeout(left)
    answer = DeadlineResponse(sock, method="GET", ahead=got)
    with closing(answer):
        answer.begin()
        headers = HTTPHeaderDict(answer.msg.items())
        response = HTTPResponse(answer, headers=headers, preload_content=False, request_method="GET")
        reply = reply_of(answer.status, response)
        return reply, answer.isclosed() and not answer.will_close


def reply_of(status: int, response: BaseHTTPResponse) -> Reply:
    """Return what is kept of an answer of urllib3's. The status has come: a body that breaks off changes nothing."""
    retry_after = response.headers.get("Retry-After")
    try:
        body = response.read(BODY, decode_content=True)
    except (HTTPError, OSError):
        body = b""
    return Reply(status, None if retry_after is None else retry_after.strip(), body)
