"""Who acknowledges: the thread that is at it, else as Celery has it; how much is fetched for a resized pool."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.concurrency.solo import TaskPool as SoloPool
from kombu.common import QoS

from worker.runtime.consumer import Consumer
from worker.runtime.pool import TaskPool


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
    consumer, hub = Consumer.__new__(Consumer), Hub()
    consumer.hub, consumer.pool = cast("Any", hub), object.__new__(pool)
    said: list[str] = []

    consumer.call_soon_ack(said.append, "acknowledged")

    assert said == (["acknowledged"] if at_once else [])
    assert len(hub.later) == (0 if at_once else 1)


class Pool:
    """A pool of so many places."""

    def __init__(self, places: int) -> None:
        self.num_processes = places


class Scaler:
    """An autoscaler of at most so many."""

    def __init__(self, most: int) -> None:
        self.max_concurrency = most


def consumer_of(places: int, *, most: int | None = None, fetches: int) -> Any:
    """A consumer of a pool, and perhaps an autoscaler, that fetches two messages for each place."""
    consumer: Any = Consumer.__new__(Consumer)
    consumer.pool, consumer.controller = Pool(places), SimpleNamespace(autoscaler=most and Scaler(most))
    consumer.prefetch_multiplier, consumer.initial_prefetch_count = 2, fetches
    consumer.qos = QoS(lambda **_: None, fetches)
    return consumer


@pytest.mark.parametrize(
    ("places", "fetches", "after"),
    [(7, 4, 14), (1, 40, 2), (3, 6, 6), (0, 4, 1), (10**9, 4, 0xFFFF)],
    ids=["grown", "shrunk", "as before", "to nothing", "beyond what Kombu counts"],
)
def test_what_is_fetched_follows_the_pool(places: int, fetches: int, after: int) -> None:
    """Whatever a remote control has said: it is the pool that knows."""
    consumer = consumer_of(places, fetches=fetches)

    consumer._update_prefetch_count(5)

    assert (consumer.qos.value, consumer.initial_prefetch_count) == (after, after)


@pytest.mark.parametrize(("change", "after"), [(5, 30), (-5, 10)])
def test_what_is_fetched_follows_an_autoscalers_most(change: int, after: int) -> None:
    """Not how many places there are just now; neither when a lost connection is made again."""
    consumer = consumer_of(2, most=10, fetches=20)

    consumer._update_prefetch_count(change)

    assert (consumer.qos.value, consumer.max_prefetch_count) == (after, 20)
