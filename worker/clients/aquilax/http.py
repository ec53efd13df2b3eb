"""One request over a connection that is open, and its answer: the plain case at once.

http.client, urllib3 and requests take some 0.2 ms of a processor for a request and its answer, most of it for what
AquilaX does not say: they are ready for anything. An answer that says nothing out of the ordinary is read here, in a
tenth of that. Whatever else it says, `worker.clients.aquilax.response` reads it from its first byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING, Final

from worker.clients.aquilax.incoming import HEAD, Deadline, Incoming
from worker.clients.aquilax.response import BODY, WITHOUT_BODY, Reply, read_response

if TYPE_CHECKING:
    import socket

    from urllib3 import BaseHTTPResponse

__all__ = ["exchange", "reply_of"]

_PLAIN_STATUS: Final = {f"HTTP/1.1 {status}".encode(): status for status in range(200, 600)}
_STATUS_ENDS: Final = len(b"HTTP/1.1 200")
_AFTER_STATUS: Final = frozenset({b"", b" "})
_OUT_OF_THE_ORDINARY: Final = frozenset({b"transfer-encoding", b"content-encoding", b"upgrade"})
_READ: Final = frozenset({b"content-length", b"retry-after", b"connection"})
"""What is read of a head, and may stand there once."""
_MOST_DIGITS: Final = 15
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
"""What a header's name is made of, in lower case: https://www.rfc-editor.org/rfc/rfc9110#name-tokens."""


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
        OSError, http.client.HTTPException: No answer came, or none that can be read. The connection can't be used
            again.
    """
    incoming = Incoming(sock, Deadline(timeout))
    sock.settimeout(timeout)
    sock.sendall(request)
    if not incoming.more():
        raise RemoteDisconnected("Remote end closed connection without response")
    ends = incoming.got.find(b"\r\n\r\n")
    head = _plain(incoming.got[:ends]) if 0 <= ends <= HEAD else None
    if head is None or head.length > BODY:
        return read_response(incoming)
    whole = ends + len(b"\r\n\r\n") + head.length
    try:
        while len(incoming.got) < whole and incoming.more():
            pass
    except OSError:
        pass  # the status has come: a body that breaks off changes nothing
    body, incoming.got = incoming.got[whole - head.length : whole], incoming.got[whole:]
    return Reply(head.status, head.retry_after, body), head.keeps and len(body) == head.length and incoming.is_clean()


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
    length = found.get(b"content-length", b"0" if status in WITHOUT_BODY else b"")
    if not length.isdigit() or len(length) > _MOST_DIGITS or (status in WITHOUT_BODY and int(length)):
        return None
    retry_after = found.get(b"retry-after")
    return _Head(
        status=status,
        retry_after=None if retry_after is None else retry_after.decode("latin-1"),
        length=int(length),
        keeps=b"close" not in found.get(b"connection", b"").lower(),
    )


def reply_of(status: int, response: BaseHTTPResponse) -> Reply:
    """Return what was read of the response that came first on its connection, as urllib3 hands it over."""
    return Reply(status, response.headers.get("Retry-After"), response.read(BODY))
