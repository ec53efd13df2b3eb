"""The HTTP client against servers that answer well, badly, slowly and not at all."""

from __future__ import annotations

import errno
import gzip
import inspect
import json
import logging
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests.exceptions
import urllib3.exceptions
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from pydantic import SecretStr
from urllib3.connection import HTTPConnection

from producer import FeedbackEvent
from tests.support.certificates import self_signed
from tests.support.raw_http import Peer, raw_http, response
from worker.clients.aquilax.client import AquilaX, _retry_after
from worker.concurrency.file_descriptors import OutOfDescriptors
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.policy.classification import Response
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "ax-key-t0p-s3cret"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
EVENT = FeedbackEvent(request_id=REQUEST_ID, status=True, org="acme", group="chat", occurred_at=NOW)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no certificates of this machine's environment."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


class ScheduledAquilaX(AquilaX):
    """A client whose requests run under a scheduler."""

    scheduler: GeventScheduler | None = None

    def send(self, event: FeedbackEvent) -> Response:
        """As the client's; from any thread."""
        if self.scheduler is None:
            return super().send(event)
        answer: Future[Response] = Future()
        send = partial(super().send, event)

        def task() -> None:
            try:
                answer.set_result(send())
            except Exception as error:  # noqa: BLE001 - it is the test's
                answer.set_exception(error)

        self.scheduler.submit(task, tag="")
        return answer.result()


@pytest.fixture(autouse=True, params=["thread", "scheduler"])
def _asked_from(request: pytest.FixtureRequest) -> Iterator[None]:
    """All of this holds in a thread of its own, and under a scheduler."""
    if request.param == "thread":
        yield
        return
    ScheduledAquilaX.scheduler = GeventScheduler(100)
    try:
        yield
    finally:
        ScheduledAquilaX.scheduler.stop()
        ScheduledAquilaX.scheduler = None


@contextmanager
def client(url: str, *, key: str = KEY, timeout: float = 5.0, connections: int = 4) -> Iterator[AquilaX]:
    """A client for a server."""
    aquilax = ScheduledAquilaX(
        url, SecretStr(key), timeout=timedelta(seconds=timeout), connections=connections, now=lambda: NOW
    )
    try:
        yield aquilax
    finally:
        if ScheduledAquilaX.scheduler is None:
            aquilax.close()  # else its connections are closed as the scheduler stops


def answer_to(said: bytes, *, event: FeedbackEvent = EVENT, key: str = KEY) -> tuple[Response, str]:
    """Send an event to a server that says this and closes; return the answer, and the request's head."""

    def say(peer: Peer, _: str) -> None:
        peer.say(said)
        peer.socket.close()

    with raw_http(say) as server, client(server.url, key=key) as aquilax:
        return aquilax.send(event), server.requests[0]


def header(head: str, name: str) -> str:
    """The value of a request's header."""
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return lines[name]


# What is sent


def test_the_request_is_as_the_api_wants_it() -> None:
    """GET, the word in the path, org and group in the query, the key in its header, and who is asking."""
    answer, head = answer_to(response())

    assert answer == Response(status=200)
    assert head.startswith(f"GET /api/v2/ai/feedback/{REQUEST_ID}/true?org=acme&group=chat HTTP/1.1\r\n")
    assert header(head, "X-AX-KEY") == KEY
    assert header(head, "User-Agent").startswith("aquilax-feedback/")
    assert "Cookie" not in head
    assert "Authorization" not in head


def test_no_trace_goes_to_aquilax() -> None:
    """It is theirs to trace what they do; a header that they did not ask for is none of theirs."""
    with TracerProvider(shutdown_on_exit=False).get_tracer("a worker").start_as_current_span("process feedback"):
        _, head = answer_to(response())

    names = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
    assert names == {"host", "user-agent", "accept", "accept-encoding", "connection", "x-ax-key"}


def test_a_thumbs_down_is_false() -> None:
    """As the API spells it."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=False, org="a", group="g")

    assert f"/{REQUEST_ID}/false?" in answer_to(response(), event=event)[1]


@pytest.mark.parametrize(
    ("org", "group", "query"),
    [
        ("a b", "c+d", "org=a+b&group=c%2Bd"),
        ("a&status=false", "x=y", "org=a%26status%3Dfalse&group=x%3Dy"),
        ("a/../b", "c?d#e", "org=a%2F..%2Fb&group=c%3Fd%23e"),
        ("100%", "%41", "org=100%25&group=%2541"),
        ("Zürich", "👍", "org=Z%C3%BCrich&group=%F0%9F%91%8D"),
    ],
)
def test_no_name_can_change_the_request(org: str, group: str, query: str) -> None:
    """What stands in org and group stays in org and group."""
    event = FeedbackEvent(request_id=REQUEST_ID, status=True, org=org, group=group)

    line = answer_to(response(), event=event)[1].split("\r\n")[0]

    assert line == f"GET /api/v2/ai/feedback/{REQUEST_ID}/true?{query} HTTP/1.1"


# What comes back


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "400 x", "401 x", "404 x", "418 x", "500 x", "599 x"])
def test_a_status_is_an_answer_and_never_an_exception(status: str) -> None:
    """It is for the policy to say what it means."""
    answer, _ = answer_to(response(status, b"" if status.startswith("204") else b"why"))

    assert answer.status == int(status[:3])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """`requests` strips only Authorization on another host: the key would go along."""
    with raw_http(lambda peer, _: peer.say(response())) as elsewhere:
        answer, _ = answer_to(response(f"{status} Moved", Location=f"{elsewhere.url}/x"))

    assert answer.status == status
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", timedelta(0)),
        ("120", timedelta(minutes=2)),
        ("  7 ", timedelta(seconds=7)),
        ("Sat, 31 Jan 2026 12:05:00 GMT", timedelta(minutes=5)),
        ("Sat, 31 Jan 2026 11:00:00 GMT", timedelta(0)),
        ("Sat, 31 Jan 2026 12:05:00 -0000", timedelta(minutes=5)),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("Sat, 99 Jan 2026 12:05:00 GMT", None),
        ("Sat, 31 Jan 99999 12:05:00 GMT", None),
        ("9" * 12, timedelta(days=3650)),
        ("9" * 5000, timedelta(days=3650)),
        ("0" * 5000 + "3", timedelta(seconds=3)),
        ("Sat, 31 Jan 2026 12:05:00 +9999999999999999", None),
        ("Sat, 31 Jan 999999999999999999999999 12:05:00 GMT", None),
        ("Sat, 31 Jan 2026 99999999999:05:00 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", timedelta(days=3650)),
        ("Mon, 01 Jan 0001 00:00:00 +2359", timedelta(0)),
        ("Saturday, 31-Jan-26 12:05:00 GMT", timedelta(minutes=5)),
        ("Sat Jan 31 12:05:00 2026", timedelta(minutes=5)),
        ("120, 120", None),
        ("1e3", None),
        ("+5", None),
        ("0x10", None),
    ],
)
def test_retry_after_is_read_or_left_alone(value: str, wait: timedelta | None) -> None:
    """Seconds or a date; nonsense is no Retry-After, and a hostile one neither raises nor overflows."""
    assert _retry_after(value, now=NOW) == wait


@given(
    value=st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,30} (Jan|Dec) \d{1,30} \d{1,20}:\d{1,20}:\d{1,20} ([+-]\d{1,30}|GMT)")
)
def test_no_retry_after_raises(value: str) -> None:
    """A header of a foreign server can't stop a delivery."""
    wait = _retry_after(value, now=NOW)

    assert wait is None or wait >= timedelta(0)


@pytest.mark.parametrize("status", [200, 400, 503])
def test_what_can_t_be_read_of_a_response_leaves_its_status(
    monkeypatch: pytest.MonkeyPatch, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails in reading its text or its headers: a 200 is not sent again for it, and a 400 ends."""

    def fail(*_: object) -> None:
        raise OverflowError("a fault of ours")

    monkeypatch.setattr("worker.clients.aquilax.client._retry_after", fail)
    monkeypatch.setattr(AquilaX, "_text", fail)

    answer, _ = answer_to(response(f"{status} x", b"why", Retry_After="5"))

    assert answer == Response(status=status)
    assert "its status counts all the same" in caplog.text


@given(body=st.binary(max_size=60) | st.text(max_size=30).map(lambda text: json.dumps({"message": text}).encode()))
@example(body=rb'{"message": "half a pair \ud800, a NUL \u0000"}')
@example(body=b'{"message": ' + b"[" * 50_000)
@example(body=b'{"message": ' + b"9" * 5_000 + b"}")
def test_no_text_keeps_a_death_from_being_written(body: bytes) -> None:
    """Its words and its cause can be stored by every database, whatever JSON spells."""
    with client("http://127.0.0.1") as aquilax:
        answer = Response(status=400, text=aquilax._text(body))

    cause = fingerprint_of(Reason.REJECTED, answer.status, answer.text)

    for text in (answer.summary, cause.summary, answer.text):
        assert "\0" not in text
        text.encode()
    assert cause.fingerprint


def test_retry_after_comes_with_the_answer() -> None:
    """As the header says."""
    assert answer_to(response("503 Busy", b"later", Retry_After="30"))[0] == Response(
        status=503, text="later", retry_after=timedelta(seconds=30)
    )


def test_a_compressed_answer_is_read() -> None:
    """We say that we understand gzip."""
    answer, _ = answer_to(response("404 x", gzip.compress(b"Request ID not found"), Content_Encoding="gzip"))

    assert answer.text == "Request ID not found"


def test_a_huge_answer_is_read_only_in_part() -> None:
    """A worker's memory is not for a proxy's pages, nor for a bomb of compressed nothing."""
    plain, _ = answer_to(response("500 x", b"x" * 3_000_000))
    bomb, _ = answer_to(response("500 x", gzip.compress(b"x" * 30_000_000), Content_Encoding="gzip"))

    assert len(plain.text) == len(bomb.text) == 64 * 1024


def test_an_answers_text_is_clean() -> None:
    """It ends up on terminals and in tables."""
    answer, _ = answer_to(response("400 x", b"\x1b[31mred\x00 \xff caf\xc3\xa9\r\nnext\n"))

    assert answer.text == "[31mred \N{REPLACEMENT CHARACTER} café\nnext"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["cut short", "broken chunks", "broken gzip", "no length"],
)
def test_a_status_with_a_broken_body_is_that_status(said: bytes) -> None:
    """AquilaX has said that it took the event: sending it again would be wrong."""
    assert answer_to(said)[0].status == 200


# The key


@pytest.mark.parametrize(
    "body", [f"bad key {KEY}!", f"{KEY}{KEY}", "bad key " + "\0".join(KEY)], ids=["once", "twice", "torn"]
)
def test_a_key_that_is_echoed_is_redacted(body: str) -> None:
    """The text goes into a table and to Flower."""
    answer, _ = answer_to(response("401 x", body.encode()))

    assert KEY not in answer.text
    assert "[redacted]" in answer.text


def test_a_key_that_is_cut_is_redacted() -> None:
    """Only so much of an answer is read, and the end may come within the key."""
    for kept in (5, 9, len(KEY) - 1):
        body = b"x" * (64 * 1024 - kept) + KEY.encode()
        assert KEY[:4] not in answer_to(response("400 x", body))[0].text


def test_a_key_that_is_echoed_in_another_writing_is_redacted() -> None:
    """In a URL and in JSON a key with such characters looks otherwise, and opens as much."""
    key = 'half/of"a+key=='
    body = json.dumps({"message": f"bad key {key}", "url": f"/?key={quote(key, safe='')}"})

    answer, _ = answer_to(response("400 x", body.encode()), key=key)

    assert answer.text == '{"message": "bad key [redacted]", "url": "/?key=[redacted]"}'


def test_the_key_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, not in what requests and urllib3 log at their most talkative, not in why there is no answer."""
    caplog.set_level(logging.DEBUG)
    answer, _ = answer_to(response("404 x", b"no"))
    with client(f"http://127.0.0.1:{free_port()}") as aquilax:
        refused = aquilax.send(EVENT)
        shown = f"{aquilax!r} {aquilax} {answer!r} {refused!r}"

    assert any(record.name.startswith("urllib3") for record in caplog.records)
    assert KEY not in caplog.text + shown


# No answer


def no_answer(answer: Response) -> str:
    """Why no answer came."""
    assert answer.status is None
    assert KEY not in answer.text
    return answer.text


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
    """It is retried: nobody knows what became of the event."""
    no_answer(answer_to(said)[0])


def test_a_refused_connection_is_no_answer() -> None:
    """Nobody listens."""
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


def test_a_certificate_that_nobody_vouches_for_gets_no_key(tmp_path: Path) -> None:
    """Verification is on; nothing is sent before it has passed."""
    tls = self_signed(tmp_path)
    with raw_http(lambda peer, _: peer.say(response()), tls=tls) as server, client(server.url) as aquilax:
        why = no_answer(aquilax.send(EVENT))

    assert why.startswith("TLS failure: self")
    assert server.requests == []


# The environment


def test_a_bundle_of_certificates_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Companies have authorities of their own."""
    tls = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))

    with raw_http(lambda peer, _: peer.say(response()), tls=tls) as server, client(server.url) as aquilax:
        assert aquilax.send(EVENT) == Response(status=200)


def test_a_proxy_is_asked_for_a_tunnel_and_never_sees_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY, as anywhere."""
    with raw_http(lambda peer, _: peer.say(response("403 no", b""))) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with client("https://aquilax.example") as aquilax:
            no_answer(aquilax.send(EVENT))

    assert proxy.requests[0].startswith("CONNECT aquilax.example:443 ")
    assert KEY not in "".join(proxy.requests)


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is near is asked directly."""
    tls = self_signed(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[0]))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with raw_http(lambda peer, _: peer.say(response())) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with raw_http(lambda peer, _: peer.say(response()), tls=tls) as server, client(server.url) as aquilax:
            assert aquilax.send(EVENT) == Response(status=200)

    assert proxy.connections == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "ALL_PROXY"])
def test_plain_http_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is for loopback: through a proxy the key would leave the machine in the clear."""
    with raw_http(lambda peer, _: peer.say(response("502 x"))) as proxy:
        monkeypatch.setenv(name.lower(), proxy.url)
        assert answer_to(response())[0] == Response(status=200)

    assert proxy.connections == 0


# Connections


@pytest.mark.parametrize(
    "said",
    [
        response(body=b"ok"),
        response(),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        response("404 x", b"no"),
    ],
    ids=["text", "empty", "204", "chunked", "404"],
)
def test_one_connection_carries_many_events(said: bytes) -> None:
    """A handshake for each would cost more than the event."""
    with raw_http(lambda peer, _: peer.say(said)) as server, client(server.url) as aquilax:
        statuses = {aquilax.send(EVENT).status for _ in range(10)}

    assert len(statuses) == 1
    assert (len(server.requests), server.connections) == (10, 1)


def test_a_late_answer_is_not_taken_for_the_next_events() -> None:
    """A connection whose answer was given up is not used again."""
    answers = iter([0.6, 0.0])

    def late_then_prompt(peer: Peer, head: str) -> None:
        peer.ended.wait(next(answers))
        peer.say(response("404 late" if "/true" in head else "200 OK"))

    with raw_http(late_then_prompt) as server, client(server.url, timeout=0.3) as aquilax:
        first = aquilax.send(EVENT)
        second = aquilax.send(FeedbackEvent(request_id=REQUEST_ID, status=False, org="a", group="g"))

    assert (first.status, second.status) == (None, 200)
    assert server.connections == 2


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"


@pytest.mark.parametrize("interim", [INTERIM, INTERIM * 200], ids=["two", "many"])
def test_only_a_final_response_counts(interim: bytes) -> None:
    """On a new connection and on one that is kept, which goes on being used; and what comes later is the next one's."""
    statuses = iter(["200 OK", "404 No", "200 OK", "503 Busy"])

    def say(peer: Peer, _: str) -> None:
        peer.say(interim, response(next(statuses)), every=0.01)

    with raw_http(say) as server, client(server.url) as aquilax:
        answers = [aquilax.send(EVENT).status for _ in range(4)]

    assert answers == [200, 404, 200, 503]
    assert server.connections == 1


def test_a_switch_of_protocols_is_final_and_ends_the_connection() -> None:
    """Nothing asked for it; what follows it is not HTTP."""
    with (
        raw_http(lambda peer, _: peer.say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", response())) as server,
        client(server.url) as aquilax,
    ):
        answers = [aquilax.send(EVENT).status for _ in range(2)]

    assert answers == [101, 101]
    assert server.connections == 2


def test_many_threads_share_the_pool() -> None:
    """As many connections as threads, at the most."""
    with (
        raw_http(lambda peer, _: peer.say(response())) as server,
        client(server.url, connections=4) as aquilax,
        ThreadPoolExecutor(4) as threads,
    ):
        statuses = {answer.status for answer in threads.map(aquilax.send, [EVENT] * 100)}

    assert statuses == {200}
    assert server.connections <= 4


# Every exception


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


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_second_answer_is_not_taken_for_the_next_events(after: int) -> None:
    """A proxy that answers twice must not have an event that was refused recorded as delivered."""
    asked: list[str] = []

    def answer(peer: Peer, head: str) -> None:
        asked.append(head)
        last = len(asked) > after
        peer.say(response("503 Service Unavailable" if last else "200 OK"))
        if len(asked) == after:
            time.sleep(0.05)
            peer.say(response("200 OK"))

    with raw_http(answer) as server, client(server.url) as aquilax:
        answers = [aquilax.send(EVENT).status for _ in range(after)]
        time.sleep(0.15)  # the second answer comes
        refused = aquilax.send(EVENT).status

    assert (answers, refused) == ([200] * after, 503)
    assert server.connections == 2
