"""The worker's app in a process whose spans go into a file, one JSON object a line; for test_tracing.py."""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from worker.celery import app

__all__ = ["app"]

_spans = Path(os.environ["TRACED_SPANS"]).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 - as long as the process
_provider = TracerProvider()
_provider.add_span_processor(
    SimpleSpanProcessor(ConsoleSpanExporter(out=_spans, formatter=lambda span: f"{span.to_json(indent=None)}\n"))
)
trace.set_tracer_provider(_provider)
