"""One trace from the backend's request to the delivery, through Redis, a retry, and a real worker."""

from __future__ import annotations

import json
import sys
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider

from producer import FeedbackProducer
from tests.support.processes import eventually, running

if TYPE_CHECKING:
    from pathlib import Path

    from worker.sandbox.stack import LocalStack

WORKER = [sys.executable, "-m", "celery", "-A", "tests.acceptance.traced_worker", "worker", "--loglevel=INFO"]


def test_a_trace_goes_from_the_backend_to_each_attempt(empty_stack: LocalStack, tmp_path: Path) -> None:
    """The first one fails; the message that comes again has the same parent."""
    broker = empty_stack.start_broker()
    empty_stack.create_database()
    request_id, spans = str(uuid.uuid4()), tmp_path / "spans.ndjson"
    with closing(empty_stack.start_sandbox()) as sandbox, FeedbackProducer(broker, timeout=5) as producer:
        sandbox.script(request_id, [503, 200])
        with TracerProvider(shutdown_on_exit=False).get_tracer("backend").start_as_current_span("press") as press:
            producer.enqueue(request_id, True, org="org", group="group")
        environment = empty_stack.environment | {"TRACED_SPANS": str(spans)}
        with running(WORKER, log=tmp_path / "worker.log", env=environment) as worker:
            eventually(
                lambda: spans.exists() and len(spans.read_text().splitlines()) == 2, what=f"two; {worker.output()}"
            )

    context = press.get_span_context()
    found: list[dict[str, Any]] = [json.loads(line) for line in spans.read_text().splitlines()]
    assert [span["attributes"]["aquilax_feedback.outcome"] for span in found] == ["retry", "delivered"]
    assert {span["context"]["trace_id"] for span in found} == {f"0x{context.trace_id:032x}"}
    assert {span["parent_id"] for span in found} == {f"0x{context.span_id:016x}"}
    assert worker.output().count(f"trace_id={context.trace_id:032x}") == 2
