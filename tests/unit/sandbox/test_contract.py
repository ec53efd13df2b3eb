from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from worker.sandbox.contract import Ask, decide, dressed, judge
from worker.sandbox.faults import Faults, Outage
from worker.sandbox.responses import ScriptedResponse, Silence

KEY = "the-key"
NOW = datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
ASK = Ask(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6",
    status="true",
    org="65dd3e835a669e3347654200",
    group="67e86d036e9921509f730483",
    key=KEY,
    user_agent="",
)
EVERYTHING_WRONG = replace(ASK, key="other", request_id="x", status="x", org="", group="")
REFUSING = Faults(forbidden_orgs=frozenset({ASK.org}), unknown_share=1)


def test_a_valid_request_is_taken() -> None:
    """The right key, a UUID, a word, an org and a group: 200."""
    assert judge(ASK, Faults(), key=KEY).status == 200


def test_checks_come_in_the_documented_order() -> None:
    """Who asks (401), what is asked (400), whether they may (403), whether there is such a thing (404)."""
    fixing = [EVERYTHING_WRONG, replace(EVERYTHING_WRONG, key=KEY), ASK]

    statuses = [judge(ask, REFUSING, key=KEY).status for ask in fixing]

    assert statuses == [401, 400, 403]
    assert judge(ASK, Faults(unknown_share=1), key=KEY).status == 404


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"request_id": "x"}, "A valid request_id is required in the URL path"),
        ({"status": "True"}, "A valid status is required in the URL path"),
        ({"org": ""}, "A valid organization_id is required in the URL path"),
        ({"group": ""}, "A valid group_id is required in the URL path"),
    ],
)
def test_an_invalid_parameter_is_named(wrong: dict[str, str], text: str) -> None:
    """400 says which one it is."""
    assert judge(replace(ASK, **wrong), Faults(), key=KEY) == ScriptedResponse(status=400, body=text)


def test_a_revoked_key_opens_nothing() -> None:
    """Not even for the key that was right."""
    assert judge(ASK, Faults(revoked_key=True), key=KEY).status == 401


def test_a_forbidden_group_is_forbidden() -> None:
    """403 goes by org or by group."""
    assert judge(ASK, Faults(forbidden_groups=frozenset({ASK.group})), key=KEY).status == 403


def test_an_outage_comes_before_a_misfortune_and_that_before_the_api() -> None:
    """What stands in front of the API fails first."""
    behaviour = Faults(outage=Outage(lasts=10), hang_rate=0.5, revoked_key=True)

    answers = [
        decide(ASK, behaviour, key=KEY, elapsed=elapsed, chance=chance)
        for elapsed, chance in [(5, 0.0), (15, 0.0), (15, 0.9)]
    ]

    assert answers == [ScriptedResponse(status=503), Silence.HANG, ScriptedResponse(status=401)]


@pytest.mark.parametrize(("status", "asks"), [(429, True), (503, True), (500, False), (200, False)])
def test_retry_after_comes_with_429_and_503_only(status: int, asks: bool) -> None:
    """The two statuses that ask to come back later; a fraction of a second is rounded up."""
    _, headers = dressed(ScriptedResponse(status=status), Faults(retry_after=2.5), now=NOW, request_headers={})

    assert headers.get("Retry-After") == ("3" if asks else None)


def test_retry_after_as_a_date_is_never_too_early() -> None:
    """An HTTP date has whole seconds: 12:00:00.25 and 2 s is 12:00:03, not 12:00:02."""
    behaviour = Faults(retry_after=2, retry_after_form="date")

    _, headers = dressed(ScriptedResponse(status=503), behaviour, now=NOW, request_headers={})

    assert headers["Retry-After"] == "Sat, 31 Jan 2026 12:00:03 GMT"


def test_a_replys_own_headers_come_first() -> None:
    """What a script says wins, however it is spelt."""
    reply = ScriptedResponse(status=302, headers={"location": "/scripted", "content-type": "text/html"})

    _, headers = dressed(reply, Faults(redirect_to="/elsewhere"), now=NOW, request_headers={})

    assert headers == {"Location": "/scripted", "Content-Type": "text/html"}


@pytest.mark.parametrize("status", [300, 302, 308])
def test_a_redirect_says_where_to(status: int) -> None:
    """A 3xx has the Location that was asked for."""
    _, headers = dressed(ScriptedResponse(status=status), Faults(redirect_to="/x"), now=NOW, request_headers={})

    assert headers["Location"] == "/x"


def test_an_echo_repeats_the_requests_headers_in_text_and_in_json() -> None:
    """So that a client can be proven to redact its key."""
    behaviour = Faults(echo_headers=True)
    headers = {"X-AX-KEY": KEY}

    text, _ = dressed(ScriptedResponse(status=400), behaviour, now=NOW, request_headers=headers)
    document, _ = dressed(ScriptedResponse(status=404), behaviour, now=NOW, request_headers=headers)

    assert text == "A valid organization_id is required in the URL path\nX-AX-KEY: the-key"
    assert document == {"code": 404, "message": "Request ID not found\nX-AX-KEY: the-key"}


def test_a_request_does_not_show_its_key() -> None:
    """What is printed by accident holds no secret."""
    assert KEY not in repr(ASK)
