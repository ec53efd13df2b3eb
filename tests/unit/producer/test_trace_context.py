"""A message names the span in which it was enqueued, if there is one, and is the same as ever if there is none."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from producer import FeedbackEvent
from producer.message import ENVELOPE, TRACE_HEADERS, to_message, trace_headers

if TYPE_CHECKING:
    import pytest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
TRACER = TracerProvider().get_tracer("a backend")
UNTRACED = """
import sys
from producer import FeedbackEvent
from producer.message import to_message
to_message(FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g"))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def headers() -> dict[str, Any]:
    """The headers of a message that is made now."""
    found: dict[str, Any] = json.loads(to_message(EVENT))["headers"]
    return found


def test_a_message_names_the_span_that_it_is_made_in() -> None:
    """By W3C's header, behind all others."""
    with TRACER.start_as_current_span("a press") as span:
        found = headers()

    context = span.get_span_context()
    assert found["traceparent"] == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert list(found)[-2:] == [ENVELOPE, "traceparent"]


def test_what_a_vendor_needs_goes_along() -> None:
    """`tracestate` may hold any printable character."""
    state = TraceState([("vendor", 'a"b')])
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)

    with trace.use_span(NonRecordingSpan(context)):
        assert tuple(headers())[-2:] == TRACE_HEADERS
        assert headers()["tracestate"] == 'vendor=a"b'


def test_without_a_span_the_message_has_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte as without OpenTelemetry."""
    monkeypatch.setattr("os.urandom", bytes)
    with_it = to_message(EVENT, enqueued_at=NOON)

    monkeypatch.delitem(sys.modules, "opentelemetry.trace")

    assert to_message(EVENT, enqueued_at=NOON) == with_it
    assert b"trace" not in with_it


def test_a_backend_that_does_not_trace_does_not_import_opentelemetry() -> None:
    """Not even if it is installed, as it is here."""
    done = subprocess.run([sys.executable, "-c", UNTRACED], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_each_coroutine_has_a_trace_of_its_own() -> None:
    """Those of one event loop are not mixed up."""

    async def press() -> bool:
        with TRACER.start_as_current_span("a press") as span:
            await asyncio.sleep(0)
            return f"{span.get_span_context().span_id:016x}" in trace_headers()["traceparent"]

    async def presses() -> list[bool]:
        return await asyncio.gather(*(press() for _ in range(10)))

    assert asyncio.run(presses()) == [True] * 10
