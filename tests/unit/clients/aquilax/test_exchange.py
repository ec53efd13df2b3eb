"""One request over an open connection, and what is read at once: it is what http.client would have read."""

from __future__ import annotations

import gc
import socket
import threading
import time
from contextlib import closing, suppress
from http.client import BadStatusLine, HTTPException, HTTPResponse, UnknownProtocol
from typing import TYPE_CHECKING, Any

import pytest
from httptools import HttpResponseParser
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from worker.clients.aquilax.response import BODY, Reply, exchange

if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUEST = b"GET /here HTTP/1.1\r\nHost: there\r\n\r\n"
_TIMEOUT = 5.0


def ask(parts: Sequence[bytes], *, pause: float = 0, closes: bool = False, timeout: float = _TIMEOUT) -> Any:
    """Exchange with a server that answers in these parts; return what came of it, an error too."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(_TIMEOUT)

        def serve() -> None:
            assert theirs.recv(65536) == _REQUEST
            with suppress(OSError):  # it was read no further
                for part in parts:
                    if part:
                        theirs.sendall(part)
                    time.sleep(pause)
                if closes:
                    theirs.shutdown(socket.SHUT_WR)

        server = threading.Thread(target=serve)
        server.start()
        try:
            return exchange(ours, _REQUEST, timeout=timeout)
        except (OSError, HTTPException, HTTPError) as error:
            return error
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            server.join()


def answer(*headers: str, body: str = "", first: str = "HTTP/1.1 200 OK") -> bytes:
    """An answer as it stands on the wire."""
    return "\r\n".join([first, *headers, "", body]).encode("latin-1")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (answer("Content-Length: 2", body="ok"), (Reply(200, None, b"ok"), True)),
        (answer("content-length:2", "RETRY-AFTER:  7 ", body="ok"), (Reply(200, "7", b"ok"), True)),
        (answer("Content-Length: 0", first="HTTP/1.1 503"), (Reply(503, None, b""), True)),
        (answer(first="HTTP/1.1 204 No Content"), (Reply(204, None, b""), True)),
        (answer("Content-Length: 2", "Connection: close", body="ok"), (Reply(200, None, b"ok"), False)),
        (answer("Content-Length: 2", "Connection: Keep-Alive", body="ok"), (Reply(200, None, b"ok"), True)),
        (answer("Content-Length: 2", body="okHTTP/1.1 200 OK"), (Reply(200, None, b"ok"), False)),
    ],
)
def test_a_plain_answer_is_read_at_once(sent: bytes, expected: tuple[Reply, bool]) -> None:
    """It is what nearly every answer is; and it leaves nothing for the garbage collector."""
    gc.collect()
    assert ask([sent]) == expected
    assert not [each for each in gc.get_objects() if isinstance(each, HttpResponseParser)]


def test_more_than_is_kept_of_a_body_is_not_waited_for() -> None:
    """Nor is the connection kept, on which the rest would come."""
    reply, reusable = ask([answer(f"Content-Length: {BODY * 2}", body="x" * BODY)])

    assert (len(reply.body), reusable) == (BODY, False)


@pytest.mark.parametrize("closes", [True, False], ids=["ends", "stays silent"])
def test_the_status_counts_though_the_body_breaks_off(closes: bool) -> None:
    """AquilaX has decided."""
    reply, reusable = ask([answer("Content-Length: 9", body="half")], closes=closes, timeout=0.3)

    assert (reply, reusable) == (Reply(200, None, b"half"), False)


@pytest.mark.parametrize(
    ("parts", "options", "error"),
    [
        ([], {"closes": True}, ConnectionResetError),
        ([b"HTTP/1.1 200 OK\r\nContent-"], {"timeout": 0.2}, TimeoutError),
        ([b"HTTP/1.1 200 OK", *[b"x"] * 20], {"timeout": 0.2, "pause": 0.03}, TimeoutError),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], {"closes": True}, HTTPException),
    ],
    ids=["nothing", "half a head", "a trickle", "not HTTP"],
)
def test_no_answer_that_can_be_read(parts: list[bytes], options: dict[str, Any], error: type[Exception]) -> None:
    """Each in time, and with an error that says which."""
    began = time.monotonic()

    assert isinstance(ask(parts, **options), error)
    assert time.monotonic() - began < _TIMEOUT


_NAMES = st.sampled_from(["Content-Length", "Retry-After", "Connection", "Transfer-Encoding", "X-Other", "Server"])
_VALUES = st.sampled_from(["2", "0", " 3 ", "close", "keep-alive", "chunked", "-1", "2, 2", "", "Ünicode", "a:b"])
_FIRST_LINES = st.sampled_from(
    ["HTTP/1.1 200 OK", "HTTP/1.1 404", "HTTP/1.1 2000 OK", "HTTP/1.0 400 No", "HTTP/1.1 204 None", "HTTP/2 200"]
)


def sent_with(headers: list[tuple[str, str]], **parts: str) -> bytes:
    """An answer with these headers."""
    return answer(*(f"{name}: {value}" for name, value in headers), **parts)


def by_http_client(sent: bytes) -> Any:
    """Read an answer as http.client does; return what comes of it, an error too."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        try:
            with closing(HTTPResponse(ours, method="GET")) as response:
                response.begin()
                status, retry_after = response.status, response.getheader("Retry-After")
                return Reply(status, None if retry_after is None else retry_after.strip(), response.read())
        except (OSError, HTTPException) as error:
            return error


@settings(max_examples=150, deadline=None)
@given(
    first=_FIRST_LINES,
    headers=st.dictionaries(_NAMES, _VALUES, max_size=5),
    body=st.sampled_from(["", "ok", "2\r\nok\r\n0\r\n\r\n"]),
    size=st.sampled_from([1, 5, 10_000]),
)
def test_it_reads_what_http_client_reads(first: str, headers: dict[str, str], body: str, size: int) -> None:
    """Where http.client keeps to the standard; a body whose end can't be told is its own affair."""
    sent = sent_with(list(headers.items()), body=body, first=first)

    ours, theirs = ask([sent[at : at + size] for at in range(0, len(sent), size)], closes=True), by_http_client(sent)

    if isinstance(ours, Exception) or isinstance(theirs, BadStatusLine | UnknownProtocol):
        assert isinstance(theirs, BadStatusLine | UnknownProtocol)
        assert isinstance(ours, HTTPException)
    elif isinstance(theirs, Reply):
        assert (ours[0].status, ours[0].retry_after) == (theirs.status, theirs.retry_after)
        if _told(headers) and theirs.status != 204:  # which has no body; http.client reads a chunked one all the same
            assert ours[0].body == theirs.body


def _told(headers: dict[str, str]) -> bool:
    """Whether the headers tell, by the standard and to http.client, how long the body is."""
    length, coding = headers.get("Content-Length", "0").strip(), headers.get("Transfer-Encoding", "chunked")
    return length.isdigit() and coding == "chunked" and "Content-Length" in headers
