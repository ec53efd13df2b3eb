"""A span for each attempt, in the trace of the backend that enqueued the event."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from producer import FeedbackEvent
from worker.delivery.hooks import NO_HOOKS
from worker.observability.tracing import Traces
from worker.policy.classification import Response, classify
from worker.policy.envelope import Envelope
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
ENVELOPE = Envelope(enqueued_at=NOON, message_id="m1", attempts=2)
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=x"}
MESSAGE = Message(event=EVENT, envelope=ENVELOPE, trace=TRACE)
DELIVERED = Completed(summary="delivered")
AGAIN = Redeliver(envelope=ENVELOPE, summary="…")


class Tracing:
    """Spans, in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.traces = Traces(provider)

    def attempt(
        self, ending: DeliveryResult, status: int | None = None, message: Message | PoisonMessage = MESSAGE
    ) -> ReadableSpan:
        """Let a attempt end, after an answer if there was one, and return its span."""
        attempt = self.traces.began(message)
        if status is not None:
            answer = Response(status=status, took=timedelta(milliseconds=40))
            attempt.responded(answer, classify(answer))
        attempt.ended(ending)
        return self.exporter.get_finished_spans()[-1]


@pytest.fixture
def tracing() -> Tracing:
    """Tracing, with nothing traced yet."""
    return Tracing()


def test_a_turn_is_a_span_of_the_trace_that_the_message_brings(tracing: Tracing) -> None:
    """Its parent is the span in which the event was enqueued, in another process."""
    span = tracing.attempt(DELIVERED, 200)

    assert span.parent is not None
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" in TRACE["traceparent"]
    assert f"{span.parent.span_id:016x}" in TRACE["traceparent"]
    assert span.context.trace_state.get("vendor") == "x"


def test_its_name_and_attributes_follow_the_conventions(tracing: Tracing) -> None:
    """Of messaging; what they have no name for has ours."""
    span = tracing.attempt(DELIVERED, 200)

    assert (span.name, span.kind) == ("process feedback", SpanKind.CONSUMER)
    assert dict(span.attributes or {}) == {
        "messaging.system": "redis",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "feedback",
        "messaging.message.id": "m1",
        "messaging.message.conversation_id": EVENT.request_id,
        "http.response.status_code": 200,
        "aquilax_feedback.org": "acme",
        "aquilax_feedback.group": "chat",
        "aquilax_feedback.attempt": 3,
        "aquilax_feedback.classification": "delivered",
        "aquilax_feedback.latency_seconds": 0.04,
        "aquilax_feedback.outcome": "delivered",
    }


@pytest.mark.parametrize(
    ("ending", "status", "error"),
    [
        (DELIVERED, StatusCode.OK, None),
        (Completed(summary="duplicate"), StatusCode.OK, None),
        (Completed(summary="stale"), StatusCode.OK, None),
        (replace(AGAIN, result=ResultKind.RETRY), StatusCode.ERROR, "retry"),
        (replace(AGAIN, result=ResultKind.HOLD), StatusCode.UNSET, None),
        (replace(AGAIN, result=ResultKind.SNOOZED), StatusCode.UNSET, None),
        (DeadLetteredResult(reason=Reason.FORBIDDEN, summary="…"), StatusCode.ERROR, "forbidden"),
    ],
)
def test_the_outcome_is_its_status(
    tracing: Tracing, ending: DeliveryResult, status: StatusCode, error: str | None
) -> None:
    """Waiting is not failing."""
    span = tracing.attempt(ending)

    assert span.status.status_code is status
    assert (span.attributes or {}).get("error.type") == error
    assert span.status.description == (ending.summary if error else None)


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense"}, {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"}])
def test_a_message_that_brings_no_trace_begins_one(tracing: Tracing, headers: dict[str, str]) -> None:
    """A foreign client may have put anything there."""
    span = tracing.attempt(DELIVERED, message=replace(MESSAGE, trace=headers))

    assert span.parent is None


def test_without_a_provider_nothing_is_spent_on_a_message_that_brings_no_trace() -> None:
    """Nothing would see its span. One that brings a trace is still the current span of whatever looks."""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert Traces().began(replace(MESSAGE, trace={})) is NO_HOOKS
    attempt = Traces().began(MESSAGE)
    assert f"{trace.get_current_span().get_span_context().trace_id:x}" in TRACE["traceparent"]
    attempt.ended(DELIVERED)


def test_poison_has_a_span_too(tracing: Tracing) -> None:
    """With as much as is known of it."""
    poison = PoisonMessage(raw=b"{}", problem="no", envelope=ENVELOPE, trace=TRACE)

    span = tracing.attempt(DeadLetteredResult(reason=Reason.INVALID, summary="dead letter: invalid no"), message=poison)

    assert (span.attributes or {})["error.type"] == "invalid"
    assert "messaging.message.conversation_id" not in (span.attributes or {})


def test_the_span_is_the_current_one_until_it_ends(tracing: Tracing) -> None:
    """What is made meanwhile is in the same trace; afterwards all is as before."""
    before = trace.get_current_span()
    attempt = tracing.traces.began(MESSAGE)
    during = trace.get_current_span()
    tracing.traces.hold_begun("breaker")
    attempt.ended(DELIVERED)

    [span] = tracing.exporter.get_finished_spans()
    assert during.get_span_context() == span.context
    assert [event.name for event in span.events] == ["aquilax_feedback.hold_begun"]
    assert trace.get_current_span() is before
