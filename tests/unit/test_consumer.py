"""Who acknowledges: the thread that is at it, where the holder gathers what ends; else as Celery has it."""

from __future__ import annotations

from typing import Any

import pytest
from celery.concurrency.solo import TaskPool as SoloPool

from worker.consumer import Consumer
from worker.pool import TaskPool


class Hub:
    """Celery's event loop, which does later what it is told."""

    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_soon(self, call: Any) -> None:
        """Take it."""
        self.later.append(call)


@pytest.mark.parametrize(("pool", "at_once"), [(TaskPool, True), (SoloPool, False)], ids=["ours", "another"])
def test_a_message_is_acknowledged_where_its_task_ran(pool: type[Any], at_once: bool) -> None:
    """The event loop is not woken for it."""
    consumer = Consumer.__new__(Consumer)
    consumer.hub, consumer.pool = Hub(), object.__new__(pool)
    said: list[str] = []

    consumer.call_soon_ack(said.append, "acknowledged")

    assert said == (["acknowledged"] if at_once else [])
    assert len(consumer.hub.later) == (0 if at_once else 1)
