"""The trace of a request: taken up from its header ``traceparent``, and handed on with its events.

Formats: https://www.w3.org/TR/trace-context/. With the extra `opentelemetry` each request is a span of its own.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from producer import __version__
from producer.message import CARRIED_TRACE
from producer.trace_context import valid_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import TracerProvider

    from worker.gateway.exchange import Exchange

__all__ = ["CarriedTraces", "RequestSpans", "request_traces"]

_FAILED: Final = 500


class CarriedTraces:
    """Hands the trace on as it came, where OpenTelemetry is not installed."""

    def wanted(self, exchange: Exchange) -> bool:
        """Whether there is anything to do for a request."""
        return b"traceparent" in exchange.headers

    @contextmanager
    def request(self, exchange: Exchange) -> Iterator[None]:
        """Let the events of the block belong to the trace of its request."""
        headers = _valid_headers(exchange)
        if not headers:
            yield
            return
        before = CARRIED_TRACE.set(headers)
        try:
            yield
        finally:
            CARRIED_TRACE.reset(before)

    def ended(self, status: int) -> None:
        """Say what was answered, within the block."""


class RequestSpans:
    """Makes a span for each request; it is the current one while its events are enqueued.

    What records spans must be set up before the gateway is made.

    Args:
        provider: Where spans go to; the process's own if None.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - the extra may not be installed

        self._trace = trace
        self._records = not isinstance(provider or trace.get_tracer_provider(), trace.ProxyTracerProvider)
        self._tracer = trace.get_tracer("aquilax-feedback", __version__, provider)

    def wanted(self, exchange: Exchange) -> bool:
        """Whether there is anything to do for a request: without the SDK of OpenTelemetry, a trace that it brings."""
        return self._records or b"traceparent" in exchange.headers

    @contextmanager
    def request(self, exchange: Exchange) -> Iterator[None]:
        """Let the block be a span in the trace of its request."""
        from opentelemetry.context import Context  # noqa: PLC0415 - see above
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - see above

        parent = TraceContextTextMapPropagator().extract(_valid_headers(exchange), Context())
        attributes = {"http.request.method": exchange.method, "http.route": exchange.route}
        name = f"{exchange.method} {exchange.route}"
        with self._tracer.start_as_current_span(name, parent, self._trace.SpanKind.SERVER, attributes):
            yield

    def ended(self, status: int) -> None:
        """Say what was answered, within the block."""
        span = self._trace.get_current_span()
        span.set_attribute("http.response.status_code", status)
        if status >= _FAILED:
            span.set_status(self._trace.StatusCode.ERROR)


def request_traces() -> CarriedTraces | RequestSpans:
    """Return what makes spans, if OpenTelemetry is installed."""
    try:
        return RequestSpans()
    except ModuleNotFoundError:
        return CarriedTraces()


def _valid_headers(exchange: Exchange) -> dict[str, str]:
    return valid_trace(exchange.header(b"traceparent"), exchange.header(b"tracestate"))
