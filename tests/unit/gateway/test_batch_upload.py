"""`POST /v1/feedback`: what is taken, what is invalid and why, and where to go on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from tests.support.gateway import REQUEST_ID, client_of
from worker.gateway.app import Gateway
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from producer.testing import AsyncRecordingProducer

EVENT = {"request_id": REQUEST_ID, "status": True, "org": "o", "group": "g"}
LINE = json.dumps(EVENT).encode() + b"\n"
JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def post(client: httpx.AsyncClient, body: Any, headers: dict[str, str] = NDJSON) -> httpx.Response:
    """Send a body."""
    content = body if isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
    return await client.post("/v1/feedback", content=content, headers=headers)


async def test_one_event_is_taken(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """With the moment of the press."""
    answer = await post(client, EVENT | {"occurred_at": "2026-01-31T12:00:00+01:00"}, JSON)

    assert answer.status_code == 200
    assert answer.json() == {"taken": 1, "spooled": 0, "invalid": 0, "problems": [], "problems_not_listed": 0}
    producer.assert_enqueued(request_id=REQUEST_ID, occurred_at="2026-01-31T11:00:00+00:00")


async def test_valid_items_of_an_array_are_taken_and_the_others_named(
    client: httpx.AsyncClient, producer: AsyncRecordingProducer
) -> None:
    """By their index, with the field and what is expected: 207, which no client takes for 200."""
    answer = await post(client, [EVENT, EVENT | {"org": ""}, 7, EVENT], JSON)

    assert answer.status_code == 207
    assert answer.json() | {"problems": []} == {
        "taken": 2, "spooled": 0, "invalid": 2, "problems": [], "problems_not_listed": 0,
    }  # fmt: skip
    assert [(one["index"], one["status"], one["field"]) for one in answer.json()["problems"]] == [
        (1, 400, "org"),
        (2, 400, "event"),
    ]
    assert "expected text of 1 to 128 characters" in answer.json()["problems"][0]["message"]
    assert len(producer.recorded) == 2


async def test_lines_are_taken_as_they_come(client: httpx.AsyncClient, producer: AsyncRecordingProducer) -> None:
    """The first are enqueued before the last are sent; empty lines count, and the last one needs no line feed."""
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield LINE * 3 + LINE[:20]
        yield LINE[20:]
        seen.append(len(producer.recorded))
        yield b"\n\r\n" + LINE + b"{nonsense\n" + b'{"request_id": "1"}\n' + b"x" * 20_000 + b"\n" + LINE[:-1]

    answer = await post(client, body())

    assert (answer.status_code, answer.json()["taken"], answer.json()["invalid"]) == (207, 6, 3)
    assert [(one["line"], one["status"], one["field"]) for one in answer.json()["problems"]] == [
        (8, 400, "event"),
        (9, 400, "status"),
        (10, 413, "event"),
    ]
    assert seen == [4]


async def test_a_body_without_a_valid_item_is_a_bad_request(client: httpx.AsyncClient) -> None:
    """So that a client that only looks at the status knows that nothing was taken. The listing is bounded."""
    answer = await post(client, b"{}\n" * 250)

    assert (answer.status_code, answer.json()["invalid"]) == (400, 250)
    assert (len(answer.json()["problems"]), answer.json()["problems_not_listed"]) == (100, 150)


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"", NDJSON), (b"[]", JSON), (b"\n\n", NDJSON)],
    ids=["nothing", "an empty array", "empty lines"],
)
async def test_a_body_of_no_events_is_fine(body: bytes, headers: dict[str, str], client: httpx.AsyncClient) -> None:
    """An export that has nothing to say has said it."""
    assert ((await post(client, body, headers)).status_code) == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"", JSON, 400),
        (b"\xff", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"[" + b" " * 1_100_000 + b"]", JSON, 413),
        (LINE, {"Content-Type": "text/plain"}, 415),
        (LINE, {}, 415),
        (LINE, NDJSON | {"Content-Encoding": "gzip"}, 415),
        (LINE, NDJSON | {"Idempotency-Key": "a b"}, 400),
    ],
    ids=[
        "half an object", "nothing", "no UTF-8", "deep", "large", "text", "no type", "compressed", "a malformed key",
    ],
)  # fmt: skip
async def test_what_can_not_be_read_is_refused(
    body: bytes, headers: dict[str, str], status: int, client: httpx.AsyncClient, producer: AsyncRecordingProducer
) -> None:
    """Each limit has its status."""
    answer = await post(client, body, headers)

    assert (answer.status_code, answer.json()["code"]) == (status, status)
    producer.refute_enqueued()


@pytest.mark.parametrize("error", [BrokerUnavailable, EnqueueUncertain])
async def test_where_redis_fails_midway_the_answer_says_where_to_go_on(
    error: type[BrokerUnavailable | EnqueueUncertain], client: httpx.AsyncClient, producer: AsyncRecordingProducer
) -> None:
    """503: what stands before that line is done. The rest, sent again from there, completes it."""
    lines = b"{}\n" + LINE * 1_200
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        yield lines[: 1 + len(LINE) * 700]
        taken = len(producer.recorded)
        yield lines[1 + len(LINE) * 700 :]

    with producer.failing(error):
        everything = await post(client, lines)
    assert (everything.status_code, everything.json()["resume_at_line"], everything.json()["taken"]) == (503, 1, 0)

    producer.clear()
    with failing_after(producer, 700, error):
        answer = await post(client, body())

    told = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert told["taken"] == taken == len(producer.recorded)
    assert told["resume_at_line"] == 2 + taken
    assert told["invalid"] == 1
    rest = b"".join(lines.splitlines(keepends=True)[told["resume_at_line"] - 1 :])
    assert (await post(client, rest)).json()["taken"] == 1_200 - taken


class failing_after:  # noqa: N801 - it is used as the producer's own `failing`
    """Let a producer fail from the moment on when it has so many events."""

    def __init__(self, producer: AsyncRecordingProducer, events: int, error: Any) -> None:
        self._producer, self._events, self._error = producer, events, error

    def __enter__(self) -> None:
        original = self._producer.enqueue_messages

        async def enqueue_messages(messages: Any, **options: Any) -> None:
            if len(self._producer.recorded) + len(messages) > self._events:
                raise self._error("it fails now")
            await original(messages, **options)

        self._producer.enqueue_messages = enqueue_messages  # type: ignore[method-assign] # for this test

    def __exit__(self, *_: object) -> None:
        del self._producer.enqueue_messages


async def test_a_client_that_stalls_is_told_how_far_it_came(
    producer: AsyncRecordingProducer, keys_file: Any, key: str
) -> None:
    """Each next line has its time: a slow stream is no idle one."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield LINE
            await asyncio.sleep(0.15)
        yield LINE[:10]
        await asyncio.sleep(30)

    async with client_of(producer, keys_file=keys_file, read_timeout=0.3) as client:
        client.headers["X-AX-KEY"] = key
        answer = await post(client, body())

    assert (answer.status_code, answer.json()["taken"], answer.json()["resume_at_line"]) == (408, 3, 4)


async def test_a_gateway_that_stops_ends_a_stream_where_it_is(producer: AsyncRecordingProducer) -> None:
    """At once, whatever the client waits for; and says where to go on."""
    gateway = Gateway(load_settings(_env_file=None), producer)
    pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/feedback", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [
            (b"host", b"localhost"), (b"content-type", b"application/x-ndjson"), (b"transfer-encoding", b"chunked")
        ],
    }  # fmt: skip
    pieces.put_nowait({"type": "http.request", "body": LINE * 2, "more_body": True})
    answering = asyncio.create_task(gateway(scope, pieces.get, send))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(producer.recorded) == 2

    gateway.stopping.set()
    pieces.put_nowait({"type": "http.disconnect"})
    await answering

    assert (sent[0]["status"], json.loads(sent[1]["body"])["resume_at_line"]) == (503, 3)


async def test_what_a_client_sent_before_it_left_is_taken_and_its_last_piece_of_a_line_is_not(
    producer: AsyncRecordingProducer,
) -> None:
    """There is no one to answer."""
    gateway = Gateway(load_settings(_env_file=None), producer)
    messages: list[Any] = [
        {"type": "http.request", "body": LINE + LINE[:-1], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pytest.fail(f"answered: {message}")

    scope = {
        "type": "http", "method": "POST", "path": "/v1/feedback", "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/x-ndjson"), (b"content-length", b"999")],
    }  # fmt: skip
    await gateway(scope, receive, send)

    assert len(producer.recorded) == 1


async def test_a_body_that_the_server_has_lost_is_not_taken_for_an_empty_one(client: httpx.AsyncClient) -> None:
    """Without our protocol uvicorn reads none behind the header Upgrade: a 200 would be the loss of all its events."""

    async def lost() -> AsyncIterator[bytes]:
        yield b""

    for media in (JSON, NDJSON):
        answer = await post(client, lost(), media | {"Upgrade": "h2c"})

        assert answer.status_code == 400
        assert "does not read the body of a request with the header Upgrade" in answer.json()["message"]


async def test_a_content_encoding_that_is_there_twice_is_refused(client: httpx.AsyncClient) -> None:
    """As one is: it says that the body is no plain text."""
    headers = [*NDJSON.items(), ("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]

    assert (await client.post("/v1/feedback", content=LINE, headers=headers)).status_code == 415
