"""One message to one receiver: signed, bounded in time, led nowhere else, and silent about the address."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.raw_http import raw_http
from tests.support.receivers import http_receiver, mail_receiver
from worker.notifications.rendering import Rendered
from worker.notifications.sending import check_receiver, send, send_all
from worker.policy.notification_receiver import Receiver, read_receivers
from worker.policy.webhook_signature import read_signing_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.raw_http import Peer
    from tests.support.receivers import HttpReceiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "s3cr3t-t0ken"
MESSAGE = Rendered(
    id="msg_1", title="AquilaX feedback: <b>", body="one\ntwö & three", severity="failure", payload='{"ünï": "✓"}'
)


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    """A receiver over HTTP."""
    with http_receiver() as receiver:
        yield receiver


def sent(url: str, *, timeout: float = 20) -> str:
    """Send the message to an address; return why it was not taken."""
    return send(a_receiver(url), MESSAGE, keys=read_signing_keys(SECRET), timeout=timeout)


def a_receiver(url: str) -> Receiver:
    """The only one of a setting."""
    (receiver,) = read_receivers(url)
    return receiver


def test_a_webhook_is_signed_over_what_is_sent(http: HttpReceiver) -> None:
    """Reckoned here by the words of the specification, with none of our code."""
    assert sent(f"webhook+http://{http.address}/{TOKEN}?a=1") == ""

    (request,) = http.received
    headers = request.headers
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), request.body])
    digest = hmac.new(base64.b64decode(SECRET[6:]), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert headers["webhook-id"] == "msg_1"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert (request.path, headers["content-type"]) == (f"/{TOKEN}?a=1", "application/json")
    assert request.body.decode() == MESSAGE.payload


@pytest.mark.parametrize("scheme", ["webhook+http", "json"])
def test_a_redirect_is_not_followed(http: HttpReceiver, scheme: str) -> None:
    """What is in the message, and in the address, is for this receiver alone."""
    with http_receiver() as other:
        http.statuses, http.location = [307], f"http://{other.address}/"

        problem = sent(f"{scheme}://{http.address}/{TOKEN}")

    assert "307" in problem
    assert (len(http.received), other.received) == (1, [])


def trickling(peer: Peer, _head: str) -> None:
    """A response whose end does not come, a byte at a time: each read is in time."""
    peer.say(b"HTTP/1.1 200 OK\r\nX-Slow: ", *[b"x"] * 1000, every=0.05)


def hanging(peer: Peer, _head: str) -> None:
    """A receiver that takes the request, and says nothing."""
    peer.hang()


@pytest.mark.parametrize("answer", [trickling, hanging])
@pytest.mark.parametrize("scheme", ["webhook+http", "json"])
def test_a_receiver_has_so_much_time_in_all(scheme: str, answer: Callable[[Peer, str], None]) -> None:
    """Whatever it does with it."""
    with raw_http(answer) as server:
        problem = sent(f"{scheme}://127.0.0.1:{server.port}/{TOKEN}", timeout=2.5)

    assert problem in {"it was not taken within 2.5 s", "no response within 2.5 s"}


def test_apprise_sends_to_what_it_knows(http: HttpReceiver) -> None:
    """JSON of its own, as text."""
    assert sent(f"json://{http.address}/{TOKEN}") == ""

    body = json.loads(http.received[0].body)
    assert (body["title"], body["message"], body["type"]) == (MESSAGE.title, MESSAGE.body, "failure")


def test_a_message_goes_by_mail() -> None:
    """By a server that is given by its address."""
    with mail_receiver() as post:
        problem = sent(f"mailto://127.0.0.1:{post.port}?from=a@example.com&to=b@example.com&mode=insecure")

    assert problem == ""
    (letter,) = post.letters
    assert "Subject: AquilaX feedback: <b>" in letter
    assert "To: b@example.com" in letter
    assert "one\r\ntw=C3=B6 & three" in letter


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("webhook+http://127.0.0.1:1/{token}", "no connection"),
        ("json://127.0.0.1:1/{token}", "A Connection error occurred"),
        ("nosuch://{token}/x", "Apprise can't read the address"),
    ],
)
def test_what_is_said_of_a_failure_has_nothing_of_the_address(url: str, expected: str) -> None:
    """It goes into logs, into Redis and onto pages."""
    problem = sent(url.format(token=TOKEN))

    assert problem.startswith(expected)
    assert TOKEN not in problem


def test_the_status_of_a_refusal_is_said(http: HttpReceiver) -> None:
    """It is what an operator looks up."""
    http.statuses = [503, 403]

    problems = [sent(f"webhook+http://{http.address}/{TOKEN}"), sent(f"json://{http.address}/{TOKEN}")]

    assert problems[0] == "it responded 503"
    assert "403" in problems[1]
    assert TOKEN not in problems[1]


def test_an_address_is_checked_without_sending_anything(http: HttpReceiver) -> None:
    """When a worker starts, and by the doctor."""
    problems = [check_receiver(a_receiver(url)) for url in (f"json://{http.address}/", "slack://too/few")]

    assert problems == ["", "Apprise can't read the address: https://appriseit.com/services has its form"]
    assert http.received == []


def test_a_fault_of_what_sends_is_a_problem_of_that_receiver_alone() -> None:
    """The others are told all the same."""

    def by(receiver: Receiver, message: Rendered, *, keys: Sequence[bytes]) -> str:  # noqa: ARG001 - the signature is `Send`'s
        if receiver.number == 1:
            raise RuntimeError(TOKEN)
        return ""

    receivers = read_receivers("json://a json://b json://c")

    assert send_all([(one, MESSAGE) for one in receivers], keys=[], by=by) == ["RuntimeError: it can't be sent", "", ""]
