"""What is sent to AquilaX."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider

from producer import FeedbackEvent
from tests.integration.aquilax.sending import (
    KEY,
    REQUEST_ID,
    answer_to,
    header,
)
from tests.support.raw_http import response
from worker.policy.classification import Response


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
