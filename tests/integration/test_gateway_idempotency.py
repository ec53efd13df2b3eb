"""A request with an `Idempotency-Key`, before a real Redis: the same one again is answered, and not enqueued."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from producer import BrokerUnavailable
from producer.testing import AsyncRecordingProducer
from tests.support.gateway import REQUEST_ID
from tests.support.processes import ROOT
from worker.gateway.app import create_app
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")

LINE = json.dumps({"request_id": REQUEST_ID, "status": True, "org": "o", "group": "g"}).encode() + b"\n"
KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@asynccontextmanager
async def gateway(producer: AsyncRecordingProducer, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway in this process, with this Redis."""
    app = create_app(load_settings(_env_file=None, feedback_broker_url=url), producer=producer)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
    headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


@pytest.fixture
def producer() -> AsyncRecordingProducer:
    """What the gateway hands events to."""
    return AsyncRecordingProducer()


async def post(client: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    """Send a body."""
    return await client.post("/v1/feedback", content=body, headers=headers)


async def test_the_same_request_again_gets_the_first_response(
    broker: RedisServer, broker_client: redis.Redis, producer: AsyncRecordingProducer
) -> None:
    """The key may be quoted; the response says that it is not new. What is remembered expires within a day."""
    async with gateway(producer, broker.url) as client:
        first = await post(client, LINE * 3 + b"{}")
        second = await post(client, LINE * 3 + b"{}", **{"Idempotency-Key": f'"{KEY}"'})

    assert (first.status_code, second.status_code) == (207, 207)
    assert second.content == first.content
    assert [answer.headers.get("idempotency-replayed") for answer in (first, second)] == [None, "true"]
    assert len(producer.recorded) == 3
    (kept,) = broker_client.scan_iter("feedback:idempotency:*")
    assert KEY not in kept
    assert 86_000 < broker_client.ttl(kept) <= 86_400


async def test_another_body_under_the_same_key_is_refused(
    broker: RedisServer, producer: AsyncRecordingProducer
) -> None:
    """The client has reused a key, and would not learn that this body was never taken."""
    async with gateway(producer, broker.url) as client:
        await post(client, LINE)
        answer = await post(client, LINE * 2)

    assert (answer.status_code, answer.json()["code"]) == (422, 422)
    assert len(producer.recorded) == 1


async def test_while_the_first_is_answered_the_second_is_refused(
    broker: RedisServer, producer: AsyncRecordingProducer
) -> None:
    """409, and after that the response of the first."""
    told = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield LINE
        await told.wait()
        yield LINE

    async with gateway(producer, broker.url) as client:
        first = asyncio.create_task(post(client, body()))
        while not producer.recorded:  # noqa: ASYNC110 - it records, and sets no event
            await asyncio.sleep(0.01)
        during = await post(client, LINE * 2)
        told.set()
        answer = await first
        after = await post(client, LINE * 2)

    assert (during.status_code, during.headers["retry-after"]) == (409, "1")
    assert (answer.status_code, after.content) == (200, answer.content)
    assert len(producer.recorded) == 2


async def test_what_was_not_answered_well_is_tried_again(broker: RedisServer, producer: AsyncRecordingProducer) -> None:
    """A 503 is not remembered, or a client could never complete its request."""
    async with gateway(producer, broker.url) as client:
        with producer.failing(BrokerUnavailable):
            first = await post(client, LINE)
        second = await post(client, LINE)

    assert (first.status_code, second.status_code) == (503, 200)
    assert len(producer.recorded) == 1


async def test_without_redis_the_key_is_passed_over(producer: AsyncRecordingProducer) -> None:
    """As with a spool: the event is taken, twice perhaps, and delivered once."""
    async with gateway(producer, "redis://127.0.0.1:1/0") as client:
        answers = [await post(client, LINE), await post(client, LINE)]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_the_rights_that_are_documented_are_enough(valkey: RedisServer, producer: AsyncRecordingProducer) -> None:
    """With the second line; with the first alone the key is passed over, and the gateway is ready all the same."""
    text = (ROOT / "docs" / "settings.md").read_text()
    first, second = re.findall(r"^ACL SETUSER feedback-gateway .+$", text, re.MULTILINE)
    with valkey.client() as client:
        try:
            for line, enqueued in ((first, 2), (second, 3)):
                client.execute_command(*line.split())
                url = valkey.url.replace("redis://", "redis://feedback-gateway:PASSWORD@")
                async with gateway(producer, url) as asking:
                    answers = [await post(asking, LINE), await post(asking, LINE)]
                    ready = await asking.get("/readyz")
                assert [answer.status_code for answer in (*answers, ready)] == [200, 200, 200]
                assert len(producer.recorded) == enqueued
        finally:
            client.acl_deluser("feedback-gateway")
