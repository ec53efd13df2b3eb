"""Plain Celery on its own Redis transport."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celery import Celery

from benchmarks.peers import asking
from benchmarks.sender import Sender, redis_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.events import Fields

__all__ = ["Sending", "app", "deliver"]

app = Celery("bench", broker=redis_url())
app.conf.update(
    accept_content=["json"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"max_connections": 300},  # more than tasks at once, or gevent's acknowledgements fail
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
)

# Under gevent every task is a greenlet of its own, and would have a session of its own.
_shared = asking.open_session(connections=100) if os.environ.get("BENCH_SHARED_SESSION") else None


def _deliver(request_id: str, status: str, org: str, group: str) -> None:
    if _shared is None:
        asking.ask(request_id, status, org, group)
    else:
        asking.ask_by(_shared, request_id, status, org, group)


deliver = app.task(name="deliver")(_deliver)


class Sending(Sender):
    """``apply_async``; many with one producer in a ``batch``, which Kombu has since 5.7."""

    def __init__(self, url: str, *, threads: int) -> None:
        del url  # the application has it
        app.conf.broker_pool_limit = max(threads, 10)

    def send(self, event: Fields) -> None:
        deliver.apply_async(kwargs=event)

    def send_many(self, events: Sequence[Fields]) -> None:
        producer: Any
        with app.producer_pool.acquire(block=True) as producer, producer.batch(len(events)):
            for event in events:
                deliver.apply_async(kwargs=event, producer=producer)
