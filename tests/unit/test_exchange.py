"""One request over an open connection: what is read at once is what http.client would have read."""

from __future__ import annotations

import socket
import threading
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError

from worker import exchange as exchange_module
from worker.exchange import BODY, Reply, exchange

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
            server.join()


def answer(*headers: str, body: str = "", first: str = "HTTP/1.1 200 OK") -> bytes:
    """An answer as it stands on the wire."""
    return "\r\n".join([first, *headers, "", body]).encode("latin-1")


def by_the_book(parts: Sequence[bytes], **options: Any) -> Any:
    """Exchange with nothing taken for plain."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(exchange_module, "_plain", lambda _: None)
        return ask(parts, **options)


@pytest.fixture
def no_book(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be left to http.client."""

    def fail(*_: object) -> None:
        pytest.fail("it was left to http.client")

    monkeypatch.setattr(exchange_module, "_by_the_book", fail)


@pytest.mark.usefixtures("no_book")
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
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_plain_answer_is_read_at_once(sent: bytes, expected: tuple[Reply, bool], size: int) -> None:
    """However it is cut in pieces."""
    parts = [sent[at : at + size] for at in range(0, len(sent), size)]

    reply, reusable = ask(parts)

    assert reply == expected[0]
    if size == len(sent):  # what comes behind it may come later than it
        assert reusable is expected[1]


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (answer("Transfer-Encoding: chunked", body="2\r\nok\r\n0\r\n\r\n"), Reply(200, None, b"ok")),
        (answer(first="HTTP/1.1 100 Continue") + answer("Content-Length: 2", body="ok"), Reply(200, None, b"ok")),
        (answer("Content-Length: 2", body="ok", first="HTTP/1.0 200 OK"), Reply(200, None, b"ok")),
        (answer("Folded: a", " b", "Content-Length: 2", body="ok"), Reply(200, None, b"ok")),
        (answer("Content-Length: 2", "Retry-After: 1", "Retry-After: 2", body="ok"), Reply(200, "1, 2", b"ok")),
        (answer("Content-Length: 2", body="ok").replace(b"\r\n", b"\n"), Reply(200, None, b"ok")),
    ],
    ids=["chunked", "100", "HTTP/1.0", "folded", "twice", "bare newlines"],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_is_out_of_the_ordinary_is_read_by_the_book(sent: bytes, reply: Reply, size: int) -> None:
    """From its first byte, though some of it has been read."""
    came = ask([sent[at : at + size] for at in range(0, len(sent), size)], closes=True)

    assert came[0] == reply


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    """As HTTP has it."""
    assert ask([answer(body="ok")], closes=True) == (Reply(200, None, b"ok"), False)


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
        ([b"x"] * 20, {"timeout": 0.2, "pause": 0.03}, TimeoutError),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], {"closes": True}, HTTPException),
        ([answer(f"Long: {'x' * 70_000}", "Content-Length: 0")], {}, HTTPException),
    ],
    ids=["nothing", "half a head", "a trickle", "not HTTP", "a long line"],
)
def test_no_answer_that_can_be_read(parts: list[bytes], options: dict[str, Any], error: type[Exception]) -> None:
    """Each in time, and with an error that says which."""
    began = time.monotonic()

    assert isinstance(ask(parts, **options), error)
    assert time.monotonic() - began < _TIMEOUT


_NAMES = st.sampled_from(
    ["Content-Length", "Retry-After", "Connection", "Transfer-Encoding", "X-Other", "Server", "x y", "", "Set-Cookie"]
)
_VALUES = st.sampled_from(["2", "0", " 3 ", "close", "keep-alive", "chunked", "-1", "2, 2", "", "Ünicode", "a:b"])


@settings(max_examples=500, deadline=None)
@given(
    first=st.sampled_from(
        ["HTTP/1.1 200 OK", "HTTP/1.1 404", "HTTP/1.1 2000 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 None", "HTTP/2 200"]
    ),
    headers=st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    body=st.sampled_from(["", "ok", "ok and more"]),
    size=st.sampled_from([5, 10_000]),
)
def test_it_reads_what_http_client_reads(first: str, headers: list[tuple[str, str]], body: str, size: int) -> None:
    """Whatever a server makes up."""
    sent = answer(*(f"{name}: {value}" for name, value in headers), body=body, first=first)
    parts = [sent[at : at + size] for at in range(0, len(sent), size)]

    fast, book = ask(parts, closes=True), by_the_book(parts, closes=True)

    if isinstance(book, Exception):
        assert isinstance(fast, type(book))
    elif len(fast[0].body) == len(book[0].body):
        assert fast[0] == book[0]
    else:  # http.client gives nothing of a body that breaks off
        assert (fast[0].status, fast[0].retry_after, book[0].body) == (book[0].status, book[0].retry_after, b"")
    if not isinstance(book, Exception) and fast[1]:
        assert book[1]
