"""The examples do what they show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from django.test import Client

from examples import django_chat, fastapi_chat, flask_chat
from producer import FeedbackProducer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from flask.testing import FlaskClient

    from tests.support.processes import RedisServer

REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
FEEDBACK = f"/chat/answers/{REQUEST_ID}/feedback"
NOWHERE = "redis://127.0.0.1:1/0"


def _queued(server: RedisServer) -> list[dict[str, Any]]:
    with server.client() as client:
        messages = [json.loads(message) for message in client.lrange("feedback", 0, -1)]
    return [json.loads(message["body"])[1] for message in messages]


@pytest.fixture
async def fastapi_client(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The FastAPI example, started, on the broker that the test asks for."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", getattr(request, "param", None) or request.getfixturevalue("valkey").url)
    transport = httpx.ASGITransport(fastapi_chat.app)
    async with (
        fastapi_chat.lifespan(fastapi_chat.app),
        httpx.AsyncClient(transport=transport, base_url="http://chat") as client,
    ):
        yield client


@pytest.fixture
def flask_client(request: pytest.FixtureRequest) -> Iterator[FlaskClient]:
    """The Flask example on the broker that the test asks for."""
    url = getattr(request, "param", None) or request.getfixturevalue("valkey").url
    with FeedbackProducer(url) as producer:
        yield flask_chat.create_app(producer).test_client()


async def test_fastapi_enqueues_the_thumb_of_an_answer(fastapi_client: httpx.AsyncClient, valkey: RedisServer) -> None:
    """From the question to the message in the queue."""
    answer = (await fastapi_client.post("/chat/answers", json={"text": "why?"})).json()

    reply = await fastapi_client.post(f"/chat/answers/{answer['request_id']}/feedback", json={"helpful": False})

    assert reply.status_code == 202
    (event,) = _queued(valkey)
    assert event["request_id"] == answer["request_id"]
    assert event["status"] == "false"
    assert event["occurred_at"] == reply.json()["occurred_at"]


async def test_fastapi_refuses_what_is_no_thumb(fastapi_client: httpx.AsyncClient, valkey: RedisServer) -> None:
    """The client's mistake, and nothing is sent."""
    reply = await fastapi_client.post(FEEDBACK, json={"helpful": "perhaps"})

    assert reply.status_code == 422
    assert _queued(valkey) == []


async def test_fastapi_refuses_what_the_producer_refuses(
    fastapi_client: httpx.AsyncClient, valkey: RedisServer
) -> None:
    """A session without a group, say: the producer's own door names the field."""
    fastapi_chat.app.dependency_overrides[fastapi_chat.tenant] = lambda: fastapi_chat.Tenant(group="")

    reply = await fastapi_client.post(FEEDBACK, json={"helpful": True})

    fastapi_chat.app.dependency_overrides.clear()
    assert reply.status_code == 422
    assert reply.json()["field"] == "group"
    assert _queued(valkey) == []


@pytest.mark.parametrize("fastapi_client", [NOWHERE], indirect=True)
async def test_fastapi_puts_off_while_redis_is_away(fastapi_client: httpx.AsyncClient) -> None:
    """The browser tries again later."""
    reply = await fastapi_client.post(FEEDBACK, json={"helpful": True})

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0


def test_flask_enqueues_the_thumb_of_an_answer(flask_client: FlaskClient, valkey: RedisServer) -> None:
    """From the question to the message in the queue."""
    answer = flask_client.post("/chat/answers", json={"text": "why?"}).get_json()

    reply = flask_client.post(f"/chat/answers/{answer['request_id']}/feedback", json={"helpful": True})

    assert reply.status_code == 202
    (event,) = _queued(valkey)
    assert event["request_id"] == answer["request_id"]
    assert event["status"] == "true"
    assert event["occurred_at"] == reply.get_json()["occurred_at"]


@pytest.mark.parametrize(
    ("path", "thumb", "field"),
    [
        (FEEDBACK, {"helpful": "perhaps"}, "status"),
        (FEEDBACK, {}, "status"),
        ("/chat/answers/not-a-uuid/feedback", {"helpful": True}, "request_id"),
    ],
)
def test_flask_refuses_what_the_producer_refuses(
    flask_client: FlaskClient, valkey: RedisServer, path: str, thumb: dict[str, Any], field: str
) -> None:
    """The client's mistake, by its field, and nothing is sent."""
    reply = flask_client.post(path, json=thumb)

    assert reply.status_code == 422
    assert reply.get_json()["field"] == field
    assert _queued(valkey) == []


@pytest.mark.parametrize("flask_client", [NOWHERE], indirect=True)
def test_flask_puts_off_while_redis_is_away(flask_client: FlaskClient) -> None:
    """The browser tries again later."""
    reply = flask_client.post(FEEDBACK, json={"helpful": True})

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0


@pytest.fixture
def django_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The Django example on the broker that the test asks for."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", getattr(request, "param", None) or request.getfixturevalue("valkey").url)
    django_chat.feedback_producer.cache_clear()
    yield Client()
    django_chat.feedback_producer().close()
    django_chat.feedback_producer.cache_clear()


def _post(client: Client, path: str, content: dict[str, Any]) -> Any:
    return client.post(path, content, content_type="application/json")


def test_django_enqueues_the_thumb_of_an_answer(django_client: Client, valkey: RedisServer) -> None:
    """From the question to the message in the queue."""
    answer = _post(django_client, "/chat/answers", {"text": "why?"}).json()

    reply = _post(django_client, f"/chat/answers/{answer['request_id']}/feedback", {"helpful": True})

    assert reply.status_code == 202
    (event,) = _queued(valkey)
    assert event["request_id"] == answer["request_id"]
    assert event["status"] == "true"
    assert event["occurred_at"] == reply.json()["occurred_at"]


@pytest.mark.parametrize(
    ("path", "thumb", "field"),
    [
        (FEEDBACK, {"helpful": "perhaps"}, "status"),
        ("/chat/answers/not-a-uuid/feedback", {"helpful": True}, "request_id"),
    ],
)
def test_django_refuses_what_the_producer_refuses(
    django_client: Client, valkey: RedisServer, path: str, thumb: dict[str, Any], field: str
) -> None:
    """The client's mistake, by its field, and nothing is sent."""
    reply = _post(django_client, path, thumb)

    assert reply.status_code == 422
    assert reply.json()["field"] == field
    assert _queued(valkey) == []


@pytest.mark.parametrize("django_client", [NOWHERE], indirect=True)
def test_django_puts_off_while_redis_is_away(django_client: Client) -> None:
    """The browser tries again later."""
    reply = _post(django_client, FEEDBACK, {"helpful": True})

    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
