"""What every request goes through: its place, its span, and an answer even where the gateway fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from producer import BrokerUnavailable
from tests.support.gateway import PRESS, client_of
from worker.gateway import app, traces

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx
    import pytest

    from producer.testing import AsyncRecordingProducer

ROUTE = "/api/v2/ai/feedback/{request_id}/{status}"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_more_requests_than_it_has_room_for_are_told_to_come_back(
    producer: AsyncRecordingProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 at once, instead of a queue in memory; probes are answered all the same."""
    go_on = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        await go_on.wait()

    monkeypatch.setattr(producer, "enqueue_messages", hang)
    async with client_of(producer, concurrency=1) as client:
        first = asyncio.create_task(client.get(PRESS))
        await asyncio.sleep(0.05)
        second, probe = await client.get(PRESS), await client.get("/healthz")
        go_on.set()

        assert (second.status_code, second.headers["retry-after"], probe.status_code) == (503, "1", 200)
        assert (await first).status_code == 200
        assert (await client.get(PRESS)).status_code == 200


async def test_an_error_that_is_not_foreseen_is_answered_and_logged(
    client: httpx.AsyncClient,
    producer: AsyncRecordingProducer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each request of those that went together is; and nothing of it is told to the client."""

    async def fail(*_: object, **__: object) -> None:
        raise KeyError("s3cret")

    monkeypatch.setattr(producer, "enqueue_messages", fail)
    answers = await asyncio.gather(client.get(PRESS), client.get(PRESS))

    assert [(answer.status_code, answer.text) for answer in answers] == [(500, "Internal Server Error")] * 2
    assert "KeyError" in caplog.text


async def test_presses_of_the_same_moment_go_together(
    client: httpx.AsyncClient, producer: AsyncRecordingProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command for Redis; each of them is answered on its own."""
    sizes: list[int] = []
    original = producer.enqueue_messages

    async def enqueue_messages(messages: Sequence[bytes], **_: object) -> None:
        sizes.append(len(messages))
        await original(messages)

    monkeypatch.setattr(producer, "enqueue_messages", enqueue_messages)
    answers = await asyncio.gather(*(client.get(PRESS) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert sum(sizes) == 20
    assert len(sizes) < 5


async def test_with_opentelemetry_a_request_is_a_span_in_the_trace_of_its_client(
    producer: AsyncRecordingProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its event's message leads back to that span; a 5xx is an error in it."""
    exporter, provider, messages = InMemorySpanExporter(), TracerProvider(), list[bytes]()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(app, "request_traces", lambda: traces.RequestSpans(provider))
    async with client_of(producer) as client:
        with producer.failing(BrokerUnavailable):
            await client.get(PRESS)
        monkeypatch.setattr(producer, "_take", lambda sent, *_: messages.extend(sent))
        await client.get(PRESS, headers={"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"})
    provider.shutdown()

    failed, span = exporter.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == (f"GET {ROUTE}", SpanKind.SERVER, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET", "http.route": ROUTE, "http.response.status_code": 200,
    }  # fmt: skip
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"00-{TRACE_ID}-{span.context.span_id:016x}-01".encode() in messages[0]
    assert failed.status.status_code == StatusCode.ERROR
