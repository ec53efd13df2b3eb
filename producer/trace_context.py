"""The trace that an event is enqueued in, as it travels with the message, if the backend traces with OpenTelemetry.

Formats: the headers are those of https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import sys
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRACE_HEADERS", "trace_headers"]

TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""The message headers that lead back to the span in which it was enqueued."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def trace_headers() -> Mapping[str, str]:
    """Return the headers that name the current span; none if there is no span.

    A process that has not imported OpenTelemetry has no current span. Nothing is imported here: a backend that forks
    while one of its threads imports would leave its child waiting for ever for that import to end.
    """
    current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if current_span is None:
        return _NONE
    span = current_span().get_span_context()
    if not span.is_valid:
        return _NONE
    parent = f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    if not span.trace_state:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": span.trace_state.to_header()}
