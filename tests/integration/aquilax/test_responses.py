"""What comes back: statuses, texts and Retry-After, well-formed or not."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.integration.aquilax.sending import (
    NOW,
    answer_to,
    client,
)
from tests.support.raw_http import raw_http, response
from worker.clients.aquilax.client import AquilaX, _retry_after
from worker.policy.classification import Response
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason


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
def test_no_text_keeps_a_dead_letter_from_being_written(body: bytes) -> None:
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
