"""How a chat backend tests that its thumbs are enqueued, and what it answers while Redis is unavailable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from examples import fastapi_chat
from producer import BrokerUnavailable, EnqueueUncertain
from producer.testing import AsyncRecordingProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
FEEDBACK = f"/chat/answers/{REQUEST_ID}/feedback"


@pytest.fixture
def producer() -> Iterator[AsyncRecordingProducer]:
    """The application's producer, which records."""
    recording = AsyncRecordingProducer()
    fastapi_chat.app.dependency_overrides[fastapi_chat.producer_of] = lambda: recording
    yield recording
    fastapi_chat.app.dependency_overrides.clear()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, without a server."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(fastapi_chat.app), base_url="http://chat") as client:
        yield client


async def test_a_thumb_is_enqueued_for_its_answer(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """With the organization and the group of the session."""
    response = await client.post(FEEDBACK, json={"helpful": False})

    event = producer.assert_enqueued(request_id=REQUEST_ID, status=False, org=fastapi_chat.Tenant().org)
    assert response.status_code == 202
    assert response.json()["occurred_at"] == event.occurred_at.isoformat()


async def test_nonsense_is_refused(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """And not enqueued."""
    response = await client.post(FEEDBACK, json={"helpful": "perhaps"})

    assert response.status_code == 422
    producer.refute_enqueued()


@pytest.mark.parametrize("error", [BrokerUnavailable, EnqueueUncertain])
async def test_the_page_is_asked_to_try_again_later(
    client: httpx.AsyncClient,
    producer: AsyncRecordingProducer,
    error: type[BrokerUnavailable | EnqueueUncertain],
) -> None:
    """The first press meets a Redis that is unavailable; the second one is enqueued."""
    with producer.failing(error, times=1):
        first, second = [await client.post(FEEDBACK, json={"helpful": True}) for _ in range(2)]

    assert (first.status_code, second.status_code) == (503, 202)
    assert first.headers["Retry-After"]
    producer.assert_enqueued(request_id=REQUEST_ID, status=True)
