"""The drop-in answers as AquilaX's document says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from tests.support.gateway import PRESS, REQUEST_ID

if TYPE_CHECKING:
    import httpx

    from producer.testing import AsyncRecordingProducer

PATH = f"/api/v2/ai/feedback/{REQUEST_ID}"


async def test_a_press_is_enqueued(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """It is answered with 200, which is what AquilaX answers."""
    answer = await client.get(PRESS)

    assert (answer.status_code, answer.json()) == (200, {"message": "Feedback submitted successfully"})
    producer.assert_enqueued(request_id=REQUEST_ID, status=True, org="my-org", group="my-group")


async def test_names_are_percent_decoded(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """As any form is; request_ids are of any case; what the document does not name is passed over."""
    answer = await client.get(f"/api/v2/ai/feedback/{REQUEST_ID.upper()}/false?group=a+b%26c&utm=1&org=%C3%BC")

    assert answer.status_code == 200
    producer.assert_enqueued(request_id=REQUEST_ID, status=False, org="ü", group="a b&c")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (f"{PATH}/true?group=g", "A valid organization_id is required in the URL path: org is missing"),
        (f"{PATH}/true?org=o&group=", "A valid group_id is required in the URL path: group is ''"),
        (
            f"{PATH}/true?org=o&org=p&group=g",
            "A valid organization_id is required in the URL path: org is there 2 times",
        ),
        (f"{PATH}/yes?org=o&group=g", "A valid status is required in the URL path: status is 'yes'"),
        (
            "/api/v2/ai/feedback/1/true?org=o&group=g",
            "A valid request_id is required in the URL path: request_id is '1'",
        ),
        (f"{PATH}/true?org=%ff&group=g", "A valid event is required in the URL path: the query is not"),
        (f"{PATH}/true?{'org&' * 200}", "A valid event is required in the URL path: the query is not"),
        (
            f"{PATH}/true?org={'o' * 2000}&group=g",
            "A valid organization_id is required in the URL path: org is text of",
        ),
    ],
    ids=["no org", "empty group", "two orgs", "another status", "no UUID", "no UTF-8", "many fields", "a long org"],
)
async def test_what_can_not_be_carried_is_refused_in_plain_text(
    path: str, complaint: str, client: httpx.AsyncClient, producer: AsyncRecordingProducer
) -> None:
    """With AquilaX's sentence first, then the field and what is expected of it."""
    answer = await client.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert answer.text.startswith(complaint)
    producer.refute_enqueued()


@pytest.mark.parametrize("path", [f"{PATH}?org=o&group=g", f"{PATH}/true/?org=o&group=g", "/api/v2/ai/feedback/", "/"])
async def test_other_paths_are_not_found(path: str, client: httpx.AsyncClient) -> None:
    """In AquilaX's form of an error."""
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json().keys() == {"code", "message"}


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(
    method: str, client: httpx.AsyncClient, producer: AsyncRecordingProducer
) -> None:
    """Some clients ask for HEAD first, and it must enqueue nothing."""
    answer = await client.request(method, PRESS)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    producer.refute_enqueued()


@pytest.mark.parametrize(
    ("error", "said"), [(BrokerUnavailable, "it was not taken"), (EnqueueUncertain, "may have been taken")]
)
async def test_what_is_not_durable_is_not_answered_2xx(
    error: type[BrokerUnavailable | EnqueueUncertain],
    said: str,
    client: httpx.AsyncClient,
    producer: AsyncRecordingProducer,
) -> None:
    """503, with the time to come back; and nothing of how Redis is reached."""
    with producer.failing(error("no answer from 10.1.2.3:6379")):
        answer = await client.get(PRESS)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert said in answer.json()["message"]
    assert "10.1.2.3" not in answer.text


async def test_a_traced_press_leads_back_to_its_trace(
    client: httpx.AsyncClient, producer: AsyncRecordingProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message has the trace's id; one whose header is malformed has none."""
    messages: list[bytes] = []
    monkeypatch.setattr(producer, "_take", lambda sent, *_: messages.extend(sent))
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    await client.get(PRESS, headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "tracestate": "a=b"})
    await client.get(PRESS, headers={"traceparent": f"00-{trace_id}-nonsense-01"})

    assert [trace_id.encode() in message for message in messages] == [True, False]
    assert b'"tracestate":"a=b"' in messages[0]
