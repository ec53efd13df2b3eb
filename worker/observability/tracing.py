"""A span for each attempt of a message, in the trace of its producer; needs the extra `opentelemetry`.

Attributes: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import context, trace
from opentelemetry.trace import ProxyTracerProvider, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from producer import __version__
from producer.message import QUEUE
from worker.delivery.hooks import NO_HOOKS
from worker.policy.message import Message
from worker.policy.result import DeadLetteredResult, ResultKind

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, TracerProvider

    from worker.delivery.hooks import AttemptHooks
    from worker.policy.classification import Classification, Response
    from worker.policy.message import PoisonMessage
    from worker.policy.result import DeliveryResult

__all__ = ["Traces"]

_OPERATION: Final = "process"
_OURS: Final = "aquilax_feedback"
"""Of attributes for which there is no convention."""

_FAILED: Final = frozenset({ResultKind.RETRY, ResultKind.DEAD_LETTER})
_ENDED_WELL: Final = frozenset({ResultKind.DELIVERED, ResultKind.DUPLICATE, ResultKind.STALE})


class Traces:
    """Makes spans; an observer. While one lasts it is the current one of its thread.

    Args:
        provider: Where spans go to; the process's own if None.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = trace.get_tracer("aquilax-feedback", __version__, provider)
        self._propagator = TraceContextTextMapPropagator()

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:
        """See `Hooks`: goes on with the trace that the message brings, or begins one."""
        if self._goes_nowhere and not message.trace:
            return NO_HOOKS
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.operation.name": _OPERATION,
            "messaging.operation.type": _OPERATION,
            "messaging.destination.name": QUEUE,
            "messaging.message.id": message.envelope.message_id,
            f"{_OURS}.attempt": message.envelope.attempt,
        }
        if isinstance(message, Message):
            attributes["messaging.message.conversation_id"] = message.event.request_id
            attributes[f"{_OURS}.org"] = message.event.org
            attributes[f"{_OURS}.group"] = message.event.group
        parent = self._propagator.extract(message.trace, context.Context())
        span = self._tracer.start_span(f"{_OPERATION} {QUEUE}", parent, SpanKind.CONSUMER, attributes)
        return _Traced(span, context.attach(trace.set_span_in_context(span)))

    @property
    def _goes_nowhere(self) -> bool:
        """Whether no program has set a provider: OpenTelemetry's own one hands out spans that say nothing."""
        return self._provider is None and isinstance(trace.get_tracer_provider(), ProxyTracerProvider)

    def hold_begun(self, kind: str) -> None:
        """See `Hooks`: an event of the span that found out."""
        trace.get_current_span().add_event(f"{_OURS}.hold_begun", {"kind": kind})


class _Traced:
    """The span of one attempt."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span, token: Token[Context]) -> None:
        self._span = span
        self._token = token

    def responded(self, response: Response, classification: Classification) -> None:
        self._span.set_attribute(f"{_OURS}.classification", classification.name.lower())
        self._span.set_attribute(f"{_OURS}.latency_seconds", response.took.total_seconds())
        if response.status is not None:
            self._span.set_attribute("http.response.status_code", response.status)

    def ended(self, ending: DeliveryResult) -> None:
        """Waiting is not failing: a span of an event that is held, or snoozed, has neither status."""
        context.detach(self._token)
        self._span.set_attribute(f"{_OURS}.outcome", ending.result.value)
        if ending.result in _ENDED_WELL:
            self._span.set_status(Status(StatusCode.OK))
        elif ending.result in _FAILED:
            error = ending.reason if isinstance(ending, DeadLetteredResult) else ending.result
            self._span.set_attribute("error.type", error.value)
            self._span.set_status(Status(StatusCode.ERROR, ending.summary))
        self._span.end()
