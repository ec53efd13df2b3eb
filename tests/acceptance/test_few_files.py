"""A worker that may open few files, through all of its parts."""

from __future__ import annotations

import resource
import uuid
from typing import TYPE_CHECKING

from producer import FeedbackProducer
from tests.support.processes import eventually

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack


def test_a_worker_that_is_short_of_files_delivers_fewer_events_at_once(empty_stack: LocalStack) -> None:
    """None is tried twice for it, one line of the log says it, and the worker still answers."""
    broker = empty_stack.start_broker()
    empty_stack.create_database()
    sandbox = empty_stack.start_sandbox(["--latency", "0.2"])
    empty_stack.environment["FEEDBACK_CONCURRENCY"] = "100"
    worker = empty_stack.start_worker()
    resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (90, 90))
    ids = [str(uuid.uuid4()) for _ in range(150)]

    with FeedbackProducer(broker, timeout=5) as producer:
        producer.enqueue_many({"request_id": each, "status": True, "org": "o", "group": "g"} for each in ids)
    eventually(lambda: sandbox.received().delivered >= len(ids), what="all are delivered")
    sandbox.close()

    accounts = worker.said()
    assert accounts.count("this worker may open 90 files") == 1
    assert "outcome=retry" not in accounts
    assert "outcome=snoozed" not in accounts
    assert "Traceback" not in accounts
