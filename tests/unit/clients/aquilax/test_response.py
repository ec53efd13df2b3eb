"""Every framing that HTTP/1.1 allows, and what servers make of it: a response counts by its final status, at once."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest

from worker.clients.aquilax.response import BODY, Deadline, Reply, read_response

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT = 5.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


def read(parts: Sequence[bytes], *, closes: bool = False, timeout: float = _TIMEOUT) -> Any:
    """Read a response that comes in these parts; return what came of it, an error too.

    The connection stays open unless it ``closes``: what waits for its end waits in vain.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def serve() -> None:
            with suppress(OSError):  # it was read no further
                for part in parts:
                    theirs.sendall(part)
                if closes:
                    theirs.shutdown(socket.SHUT_WR)

        server = threading.Thread(target=serve)
        server.start()
        try:
            return read_response(ours, Deadline(timeout))
        except (OSError, HTTPException) as error:
            return error
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            server.join()


def head(*headers: str, status: str = "HTTP/1.1 400 Bad Request") -> bytes:
    """A head as it stands on the wire."""
    return "\r\n".join([status, *headers, "", ""]).encode("latin-1")


FRAMINGS = {
    "a length": (head("Content-Length: 2") + b"ok", b"ok", True),
    "no reason": (head("Content-Length: 2", status="HTTP/1.1 400") + b"ok", b"ok", True),
    "length twice in a line": (head("Content-Length: 2, 2") + b"ok", b"ok", False),
    "length in two lines": (head("Content-Length: 2", "Content-Length: 2") + b"ok", b"ok", False),
    "lengths that differ": (head("Content-Length: 2, 3") + b"ok", b"ok", False),
    "differing lines": (head("Content-Length: 2", "Content-Length: 3") + b"ok", b"ok", False),
    "no number": (head("Content-Length: two") + b"ok", b"ok", False),
    "below 0": (head("Content-Length: -1") + b"ok", b"ok", False),
    "an empty length": (head("Content-Length:") + b"ok", b"ok", False),
    "chunked": (head("Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "Chunked": (head("Transfer-Encoding: Chunked") + b"2\r\nok\r\n0\r\n\r\n", b"ok", True),
    "chunks": (head("Transfer-Encoding: chunked") + b"1\r\no\r\n01\r\nk\r\n000\r\n\r\n", b"ok", True),
    "chunk extensions": (head("Transfer-Encoding: chunked") + b'2;a="b;c";d\r\nok\r\n0;e\r\n\r\n', b"ok", True),
    "a blank behind a chunk's size": (head("Transfer-Encoding: chunked") + b"2 \r\nok\r\n0\r\n\r\n", b"ok", True),
    "a blank before a chunk extension": (head("Transfer-Encoding: chunked") + b"2 ;a\r\nok\r\n0\r\n\r\n", b"ok", True),
    "a blank in a chunk extension": (head("Transfer-Encoding: chunked") + b"2; a\r\nok\r\n0\r\n\r\n", b"", False),
    "trailers": (head("Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\nX: y\r\nZ: 0\r\n\r\n", b"ok", True),
    "chunked and a length": (
        head("Content-Length: 9", "Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n",
        b"ok",
        False,
    ),
    "identity": (head("Transfer-Encoding: identity", "Content-Length: 2") + b"ok", b"ok", False),
    "bad chunks": (head("Transfer-Encoding: chunked") + b"nonsense\r\n", b"", False),
    "a chunk too long": (head("Transfer-Encoding: chunked") + b"2\r\noken\r\n0\r\n\r\n", b"ok", False),
    "204": (head(status="HTTP/1.1 204 No Content"), b"", True),
    "304": (head(status="HTTP/1.1 304 Not Modified"), b"", True),
    "204 with a length": (head("Content-Length: 2", status="HTTP/1.1 204 No Content"), b"", False),
    "304 with a length": (head("Content-Length: 2", status="HTTP/1.1 304 Not Modified"), b"", False),
    "obs-fold": (head("X: a", "  b", "Content-Length:", " 2") + b"ok", b"ok", False),
    "bare newlines": (head("Content-Length: 2").replace(b"\r\n", b"\n") + b"ok", b"ok", False),
    "mixed newlines": (b"HTTP/1.1 400 x\nContent-Length: 2\r\n\nok", b"ok", False),
    "empty lines ahead": (b"\r\n\r\n" + head("Content-Length: 2") + b"ok", b"ok", True),
    "a blank before the colon": (head("Content-Length : 2") + b"ok", b"ok", False),
    "two blanks before the status": (head("Content-Length: 2", status="HTTP/1.1  400 x") + b"ok", b"ok", False),
    "tabs around the value": (head("Content-Length:\t2\t") + b"ok", b"ok", True),
    "a line without a colon": (head("nonsense", " folded", "Content-Length: 2") + b"ok", b"ok", False),
    "a NUL": (head("X: \0", "Content-Length: 2") + b"ok", b"ok", False),
    "HTTP/1.0": (head("Content-Length: 2", status="HTTP/1.0 400 x") + b"ok", b"ok", False),
    "HTTP/1.0 that is kept": (
        head("Content-Length: 2", "Connection: Keep-Alive", status="HTTP/1.0 400 x") + b"ok",
        b"ok",
        True,
    ),
    "close": (head("Content-Length: 2", "Connection: x, Close") + b"ok", b"ok", False),
    "two lines of Connection": (head("Connection: x", "connection: close", "Content-Length: 2") + b"ok", b"ok", False),
    "an unknown status": (head("Content-Length: 2", status="HTTP/1.1 999 Odd") + b"ok", b"ok", True),
    "101": (head("Upgrade: websocket", status="HTTP/1.1 101 Switching Protocols"), b"", False),
    "one more byte": (head("Content-Length: 2") + b"ok!", b"ok", False),
    "another response": (head("Content-Length: 2") + b"ok" + OK, b"ok", False),
    "half a response": (head("Content-Length: 2") + b"ok" + OK[:20], b"ok", False),
    "a byte behind chunks": (head("Transfer-Encoding: chunked") + b"2\r\nok\r\n0\r\n\r\n!", b"ok", False),
    "an empty line behind": (head("Content-Length: 2") + b"ok\r\n", b"ok", True),
    "HTTP/1.0 in chunks": (
        head("Connection: keep-alive", "Transfer-Encoding: chunked", status="HTTP/1.0 400 x") + b"2\r\nok\r\n0\r\n\r\n",
        b"ok",
        False,
    ),
    "gzip": (
        head(f"Content-Length: {len(gzip.compress(b'ok', mtime=0))}", "Content-Encoding: gzip")
        + gzip.compress(b"ok", mtime=0),
        b"ok",
        True,
    ),
    "a long head": (head(f"Long: {'x' * 200_000}", "Content-Length: 0"), b"", False),
    "many headers": (head(*["X: y"] * 500, "Content-Length: 2") + b"ok", b"ok", True),
}


@pytest.mark.parametrize(("sent", "body", "reusable"), FRAMINGS.values(), ids=FRAMINGS)
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 102 Processing\r\n\r\n" + EARLY_HINTS], ids=["alone", "interim"])
def test_a_response_counts_by_its_final_status_at_once(
    sent: bytes, body: bytes, reusable: bool, interim: bytes
) -> None:
    """However its body is framed, on a connection that stays open, and whatever comes before it."""
    began = time.monotonic()

    reply, kept = read([interim + sent])

    assert (reply.body, kept) == (body, reusable)
    assert str(reply.status).encode() in sent.partition(b"\n")[0] or sent.startswith(b"\r\n")
    assert time.monotonic() - began < _TIMEOUT / 2


@pytest.mark.parametrize(
    "name", ["length twice in a line", "trailers", "obs-fold", "mixed newlines", "chunk extensions"]
)
def test_no_cut_between_two_bytes_changes_what_is_read(name: str) -> None:
    """A network cuts where it likes."""
    sent, body, reusable = FRAMINGS[name]
    whole = EARLY_HINTS + sent

    for at in range(1, len(whole)):
        reply, kept = read([whole[:at], whole[at:]], closes=True)
        assert (reply.status, reply.body, kept) == (400, body, reusable), at
    assert read([whole[at : at + 1] for at in range(len(whole))], closes=True)[0].body == body


def test_any_number_of_interim_responses_may_come_before() -> None:
    """Within the time, and a limit that nothing well-made comes near."""
    assert read([EARLY_HINTS * 5000, OK]) == (Reply(200, None, b"ok"), True)
    assert isinstance(read([EARLY_HINTS * 20_000, OK]), HTTPException)


def test_what_an_interim_response_says_is_not_the_final_ones() -> None:
    """Neither its Retry-After nor its Connection."""
    interim = b"HTTP/1.1 103 x\r\nRetry-After: 9\r\nConnection: close\r\nContent-Length: 7\r\n\r\n"

    assert read([interim + OK]) == (Reply(200, None, b"ok"), True)


@pytest.mark.parametrize("coding", ["", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, chunked"])
def test_a_body_that_only_the_end_of_the_connection_ends(coding: str) -> None:
    """It is read to that end; nothing waits for an end that does not come."""
    sent = head(*([coding] if coding else []), status="HTTP/1.1 404 x") + gzip.compress(b"why") * bool(coding)
    began = time.monotonic()

    assert read([sent + b"why" * (not coding)], closes=True)[0].status == 404
    assert read([sent + b"why" * (not coding)])[1] is False
    assert read([sent.replace(b"404", b"200")])[0].status == 200
    assert time.monotonic() - began < _TIMEOUT / 2


def test_of_an_error_without_a_length_the_text_is_kept() -> None:
    """Operators read it."""
    assert read([head(), b"why", b" not"], closes=True) == (Reply(400, None, b"why not"), False)


def test_a_body_is_read_no_further_than_it_is_kept() -> None:
    """In whatever way it is sent."""
    long = b"x" * (BODY * 2)

    for sent in (
        head(f"Content-Length: {'9' * 30}") + long,
        head("Transfer-Encoding: chunked") + b"%x\r\n" % len(long) + long + b"\r\n0\r\n\r\n",
        head() + long,
    ):
        reply, kept = read([sent])
        assert (len(reply.body), kept) == (BODY, False)


@pytest.mark.parametrize("odd", ["X: a\r\n b", "no colon", "Content-Length: 2, 3", "X\0: y", "Retry-After : 6"])
def test_a_head_that_the_parser_refuses_says_when_to_try_again(odd: str) -> None:
    """As any other; the last one counts."""
    reply, kept = read([head(odd, "Retry-After: 7 ", "Content-Encoding: gzip", status="HTTP/1.1 503 x")])

    assert (reply.status, reply.retry_after, kept) == (503, "7", False)


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"<html>",
    ],
)
def test_what_is_no_http_is_refused_at_once(sent: bytes) -> None:
    """Though the connection stays open, and more might come."""
    began = time.monotonic()

    assert isinstance(read([sent]), HTTPException)
    assert time.monotonic() - began < _TIMEOUT / 2


@pytest.mark.parametrize(
    "sent", [EARLY_HINTS, b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\n no head\nContent-Le", b"HTTP/1.1 200"]
)
def test_a_head_that_breaks_off_is_no_response(sent: bytes) -> None:
    """What was meant can't be told; the event is sent again."""
    assert isinstance(read([sent], closes=True), HTTPException | OSError)
