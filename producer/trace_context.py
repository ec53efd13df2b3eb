"""The trace that an event is enqueued in, as it travels with the message, if the backend traces with OpenTelemetry.

Formats: the headers are those of https://www.w3.org/TR/trace-context/.
"""

from __future__ import annotations

import sys
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TRACE_HEADERS", "trace_headers"]

TRACE_HEADERS: Final = ("traceparent", "tracestate")
"""The message headers that lead back to the span in which it was enqueued."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def trace_headers() -> Mapping[str, str]:
    """Return the headers that name the current span; none if there is no span.

    A process that has not imported OpenTelemetry has no current span: it is not imported to find that out.
    """
    if sys.modules.get("opentelemetry.trace") is None:
        return _NONE
    headers: dict[str, str] = {}
    _propagator().inject(headers)
    return headers


@cache
def _propagator() -> Any:  # noqa: ANN401 - of a package that need not be there
    """W3C's, whatever propagators the backend uses for its requests: the workers need not know its settings."""
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - the producer needs redis-py alone
        TraceContextTextMapPropagator,
    )

    return TraceContextTextMapPropagator()
