"""The key goes to AquilaX alone: whatever a response repeats, and through whichever proxy the request goes."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.integration.aquilax.sending import (
    EVENT,
    KEY,
    answer_to,
    client,
    no_answer,
)
from tests.support.certificates import self_signed
from tests.support.raw_http import raw_http, response
from worker.policy.classification import Response
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_certificate_without_a_trusted_issuer_gets_no_key(tmp_path: Path) -> None:
    """Verification is on; nothing is sent before it has passed."""
    tls = self_signed(tmp_path)
    with raw_http(lambda peer, _: peer.say(response()), tls=tls) as server, client(server.url) as aquilax:
        why = no_answer(aquilax.send(EVENT))

    assert why.startswith("TLS failure: self")
    assert server.requests == []


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
