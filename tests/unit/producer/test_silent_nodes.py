"""Nodes of a cluster that do not answer: what is for others goes on, and what is for them goes where it can."""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain, FeedbackProducer
from tests.support.made_up_cluster import MadeUpCluster, made_up_cluster
from tests.support.processes import eventually
from tests.support.producers import produce
from tests.unit.producer.test_made_up_cluster import EVENTS, attempt_at, both

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[MadeUpCluster]:
    """Three nodes; all is well."""
    with made_up_cluster() as made:
        yield made


@both
def test_a_node_that_accepts_and_does_not_answer_is_left_for_the_new_owner(kind: str, cluster: MadeUpCluster) -> None:
    """It has been sent no event: one that is greeted in vain is sent none."""
    old, new = cluster.owners[0], cluster.owners[1]
    old.on_greeting = lambda: None
    asked = iter(range(100))

    def slots() -> bytes:
        if next(asked) > 1:
            cluster.owners[0] = new
        return cluster.slots()

    for node in cluster.nodes:
        node.on_slots = slots
    with produce(kind, cluster.url, timeout=30) as producer:
        producer.enqueue(EVENTS[0])

    assert old.enqueued == []
    assert new.enqueued == [0]


@both
def test_a_silent_node_holds_up_no_call_for_another(kind: str, cluster: MadeUpCluster) -> None:
    """Neither by its connections, nor when it is asked for the slots."""
    silent, other = cluster.nodes[0], cluster.owners[1]
    with produce(kind, cluster.url, timeout=60, max_connections=1) as producer:
        producer.enqueue_many(EVENTS)
        silent.on_enqueue = lambda _: None
        silent.on_greeting = silent.on_slots = lambda: None
        for _ in range(3):
            with pytest.raises((BrokerUnavailable, EnqueueUncertain)):
                producer.enqueue(EVENTS[0], timeout=0.2)
        before = len(silent.commands)
        for _ in range(20):
            producer.enqueue(EVENTS[1])

        assert len(other.enqueued) >= 21
        assert len(silent.commands) - before <= 2


@pytest.mark.parametrize("number", [1, 16], ids=["one", "chunk"])
def test_while_a_call_waits_for_a_silent_node_later_ones_go_to_its_heir(number: int, cluster: MadeUpCluster) -> None:
    """Though the first has all the time in the world: the slots are asked for meanwhile."""
    old, new = cluster.owners[0], cluster.owners[1]
    with FeedbackProducer(cluster.url, timeout=60) as producer:
        producer.enqueue_many(EVENTS)
        old.on_enqueue = lambda _: None
        cluster.owners = [new if owner is old else owner for owner in cluster.owners]
        waiting = Thread(target=attempt_at, args=(producer, EVENTS[:number], 60))
        waiting.start()
        eventually(lambda: producer._routes.place(0) == ("127.0.0.1", new.port), what="the new owner is known")
        producer.enqueue(EVENTS[0])
        old.stop()
        waiting.join()

    assert new.enqueued[-1] == 0


async def test_while_a_task_waits_for_a_silent_node_later_ones_go_to_its_heir(cluster: MadeUpCluster) -> None:
    """One that was sent to the silent node meanwhile lets the slots be asked for."""
    old, new = cluster.owners[0], cluster.owners[1]
    async with AsyncFeedbackProducer(cluster.url, timeout=60) as producer:
        await producer.enqueue_many(EVENTS)
        old.on_enqueue = lambda _: None
        cluster.owners = [new if owner is old else owner for owner in cluster.owners]
        waiting = [asyncio.create_task(producer.enqueue(EVENTS[0]))]
        while not any(task.done() for task in waiting):
            await asyncio.wait(waiting, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            waiting.append(asyncio.create_task(producer.enqueue(EVENTS[0])))
        old.stop()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert 0 in new.enqueued


@both
def test_a_cluster_that_is_not_there_costs_a_call_its_time(kind: str, cluster: MadeUpCluster) -> None:
    """The error says of each node why."""
    for node in cluster.nodes:
        node.stop()
    with (
        produce(kind, cluster.url, timeout=0.3) as producer,
        pytest.raises(BrokerUnavailable, match=rf"node 127\.0\.0\.1:{cluster.nodes[0].port}: .*refused") as told,
    ):
        producer.enqueue(EVENTS[0])

    assert "s3cr3t" not in str(told.value)
