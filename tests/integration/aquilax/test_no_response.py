"""What is no response: deadlines, connections that fail, and every exception of the libraries."""

from __future__ import annotations

import errno
import inspect
import logging
import socket
import time
from contextlib import closing
from itertools import repeat
from typing import Any

import pytest
import requests.exceptions
import urllib3.exceptions
from urllib3.connection import HTTPConnection

from tests.integration.aquilax.sending import (
    EVENT,
    answer_to,
    client,
    no_answer,
)
from tests.support.raw_http import Peer, raw_http, response
from worker.concurrency.file_descriptors import OutOfDescriptors
from worker.policy.classification import Response
from worker.sandbox.stack import free_port


@pytest.mark.parametrize(
    "behave",
    [
        lambda peer, _: peer.hang(),
        lambda peer, _: peer.say(b"HTTP/1.1 200 OK\r\n", *repeat(b"X: y\r\n", 90), every=0.04),
        lambda peer, _: peer.say(*repeat(b"HTTP/1.1 100 Continue\r\n\r\n", 500), every=0.01),
        lambda peer, _: peer.say(*(bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n" * 9), every=0.04),
    ],
    ids=["silence", "trickled headers", "endless 100s", "trickled bytes"],
)
def test_the_whole_answer_has_one_deadline(behave: Any) -> None:
    """Each byte in time does not make the whole in time."""
    with raw_http(behave) as server, client(server.url, timeout=0.4) as aquilax:
        started = time.monotonic()
        answer = aquilax.send(EVENT)
        took = time.monotonic() - started

    assert no_answer(answer) == "timeout: no answer within 0.4 s"
    assert took < 1.5


def test_a_trickled_body_ends_at_the_deadline_with_its_status() -> None:
    """The status has been given; the text is a comfort."""

    def trickle(peer: Peer, _: str) -> None:
        peer.say(b"HTTP/1.1 404 x\r\nContent-Length: 1000\r\n\r\n", *repeat(b"x", 1000), every=0.04)

    with raw_http(trickle) as server, client(server.url, timeout=0.4) as aquilax:
        started = time.monotonic()
        answer = aquilax.send(EVENT)
        took = time.monotonic() - started

    assert answer.status == 404
    assert took < 1.5


def test_a_server_that_does_not_accept_is_a_timeout() -> None:
    """Its queue is full: packets to it vanish."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with client(f"http://127.0.0.1:{port}", timeout=0.6) as aquilax:
            answer = aquilax.send(EVENT)
        for one in waiting:
            one.close()

    assert no_answer(answer) == "timeout: no answer within 0.6 s"


def test_behind_a_dead_address_there_is_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with two addresses, of which the first swallows packets: the event is delivered all the same."""
    with (
        raw_http(lambda peer, _: peer.say(response())) as server,
        closing(socket.create_server(("127.0.0.2", server.port), backlog=0)),
    ):
        full = [socket.socket() for _ in range(4)]
        for one in full:
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", server.port))
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        with client(f"http://two.localhost:{server.port}", timeout=3) as aquilax:
            answer = aquilax.send(EVENT)
        for one in full:
            one.close()

    assert answer == Response(status=200)


def test_a_reset_is_no_answer() -> None:
    """The server crashed."""
    with raw_http(lambda peer, _: peer.reset()) as server, client(server.url) as aquilax:
        assert no_answer(aquilax.send(EVENT)) == "connection reset by peer"


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 2", b"nonsense\r\n\r\n", b"HTTP/1.1 99 x\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200],
    ids=["nothing", "half a line", "no HTTP", "no status", "too many headers"],
)
def test_what_is_no_answer_is_no_answer(said: bytes) -> None:
    """It is retried: what became of the event is unknown."""
    no_answer(answer_to(said)[0])


def test_a_refused_connection_is_no_answer() -> None:
    """No server listens."""
    with client(f"http://127.0.0.1:{free_port()}") as aquilax:
        assert no_answer(aquilax.send(EVENT)) == "connection refused"


def test_a_shortage_of_our_own_is_not_taken_for_an_answer_that_did_not_come(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One log line until a connection could be opened again; no attempt is spent (see `worker.delivery.service`)."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with raw_http(lambda peer, _: peer.say(response(Connection="close"))) as server, client(server.url) as aquilax:
        for _ in range(2):
            with monkeypatch.context() as short:
                short.setattr(socket, "getaddrinfo", fail)
                for _ in range(3):
                    with pytest.raises(OutOfDescriptors):
                        aquilax.send(EVENT)
            assert aquilax.send(EVENT).status == 200

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "no connection to AquilaX can be opened here: [Errno 24] Too many open files; events wait, and spend no attempt"
    ] * 2


def test_an_unknown_host_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name service may come back."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with client("https://aquilax.invalid") as aquilax:
        assert no_answer(aquilax.send(EVENT)) == "name resolution failed: Name or service not known"


def _exceptions(module: Any) -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__ == module.__name__
    ]


def _made(kind: type[Exception]) -> Exception:
    """Make one as its library would, as far as its arguments can be told from their names."""
    known: dict[str, Any] = {
        "pool": None,
        "conn": HTTPConnection("127.0.0.1"),
        "url": "/",
        "host": "127.0.0.1",
        "message": "x",
        "error": OSError("x"),
        "reason": socket.gaierror(-2, "x"),
        "length": b"x",
        "scheme": "x",
        "location": "x",
        "partial": 1,
        "expected": 2,
        "response": urllib3.HTTPResponse(b""),
        "defects": [],
        "unparsed_data": b"",
    }
    if not inspect.isfunction(kind.__init__):
        return kind("x")
    names = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and parameter.default is inspect.Parameter.empty
    ]
    if kind is requests.exceptions.JSONDecodeError:
        return requests.exceptions.JSONDecodeError("x", "y", 0)
    return kind(*(known[name] for name in names))


@pytest.mark.parametrize("kind", [*_exceptions(requests.exceptions), *_exceptions(urllib3.exceptions)])
def test_no_exception_of_the_libraries_escapes(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """Whichever they raise on the way, it is an answer that did not come, in words."""
    error = _made(kind)

    def fail(*_: object, **__: object) -> None:
        raise error

    with client("http://127.0.0.1") as aquilax:
        monkeypatch.setattr(aquilax._adapter, "send", fail)
        answer = aquilax.send(EVENT)

    assert no_answer(answer) != ""


def test_there_are_exceptions_to_walk() -> None:
    """So that the test above can't pass on none."""
    assert len(_exceptions(requests.exceptions)) > 20
    assert len(_exceptions(urllib3.exceptions)) > 25
