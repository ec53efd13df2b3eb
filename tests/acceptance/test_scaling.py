"""A worker that is resized while it works: by Celery's autoscaler, and by remote control, as Flower's buttons do it."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from producer import FeedbackEvent, FeedbackProducer
from tests.support.commands import reply_to, succeed
from tests.support.processes import eventually
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack

EVENTS = 60


def send(stack: LocalStack, count: int) -> None:
    """Press so many times."""
    events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(count)]
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
        producer.enqueue_many(events)


def pool_of(stack: LocalStack) -> dict[str, Any]:
    """The worker's pool, and how many messages it fetches, as it tells `inspect stats`."""
    stats = reply_to(stack.environment, "stats")
    return {"places": stats["pool"]["max-concurrency"], "prefetch": stats["prefetch_count"]}


@pytest.mark.parametrize("pool", ["threads", "gevent", "processes"])
def test_an_autoscaled_worker_delivers_everything(stack: LocalStack, pool: str) -> None:
    """Up to eight at once, and not one event is blamed for it."""
    with closing(stack.start_sandbox(["--latency=0.2"])) as sandbox:
        worker = stack.start_worker(options=["-P", pool, "--autoscale=8,1"])
        send(stack, EVENTS)

        eventually(lambda: sandbox.received().delivered == EVENTS, what="all are delivered")

        assert "Scaling up" in worker.said()
        succeed(stack.environment, "reconcile")


def test_a_worker_is_grown_and_shrunk_by_remote_control(stack: LocalStack) -> None:
    """How many it sends at once follows, and so does how many it fetches; and an autoscaler's range."""
    stack.environment |= {"FEEDBACK_CONCURRENCY": "2", "FEEDBACK_REQUEST_TIMEOUT": "100"}
    with closing(stack.start_sandbox(["--latency=60"])) as sandbox:
        worker = stack.start_worker()
        send(stack, EVENTS)
        eventually(lambda: sandbox.received().requests == 2, what="two are being sent")

        assert "ok" in reply_to(stack.environment, "pool_grow", n=3)
        eventually(lambda: sandbox.received().requests == 5, what="five are being sent")
        assert pool_of(stack) == {"places": 5, "prefetch": 10}

        assert "ok" in reply_to(stack.environment, "pool_shrink", n=100)
        assert pool_of(stack) == {"places": 1, "prefetch": 2}
        stack.kill(worker)  # it would wait for its answers


def test_a_pool_of_one_place_refuses_to_be_autoscaled(stack: LocalStack) -> None:
    """At the start, in words, and not with each message."""
    with closing(stack.start_sandbox()), pytest.raises(StackError, match="without --autoscale"):
        stack.start_worker(options=["-P", "solo", "--autoscale=8,1"])
