"""Where a cluster has taken a part of a chunk, only the rest is kept, tried again, or told to have failed."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import MetaData, create_engine

from producer import AsyncFeedbackProducer, BrokerUnavailable, FeedbackProducer, outbox
from producer.partitions import ON_A_CLUSTER
from producer.spool import Spool, SpoolSender
from tests.support.cluster_load import an_event_of
from tests.support.made_up_cluster import TAKEN, MadeUpCluster, made_up_cluster
from tests.support.processes import eventually
from tests.support.producers import produce
from worker.gateway.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVENTS = [an_event_of(number) for number in range(ON_A_CLUSTER)]
FULL = 5
"""The partition whose primary takes nothing."""


@pytest.fixture
def cluster() -> Iterator[MadeUpCluster]:
    """One of its partitions is not taken."""
    with made_up_cluster() as made:
        made.owners[FULL].on_enqueue = lambda partition: b"-OOM no memory\r\n" if partition == FULL else TAKEN
        yield made


def mend(cluster: MadeUpCluster) -> None:
    """Let all be taken."""
    cluster.owners[FULL].on_enqueue = lambda _: TAKEN


def assert_each_was_sent_once(cluster: MadeUpCluster, *, tries: int) -> None:
    """But for the one that was refused, so many times."""
    sent = sorted(partition for node in cluster.nodes for partition in node.enqueued)
    assert sent == sorted([*range(ON_A_CLUSTER), *[FULL] * tries])


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_spool_keeps_the_rest_alone(kind: str, cluster: MadeUpCluster, tmp_path: Path) -> None:
    """The call returns: all are in Redis, or on disk."""
    spooled: list[object] = []
    spool = Spool(tmp_path, on_spooled=spooled.extend)
    with produce(kind, cluster.url, timeout=5, spool=spool) as producer:
        assert producer.enqueue_many(EVENTS) == ON_A_CLUSTER
        assert spooled == [EVENTS[FULL]]

        mend(cluster)
        eventually(lambda: spool.sent, what="it is sent from there")
    tries = sum(node.enqueued.count(FULL) for node in cluster.nodes) - 1
    assert_each_was_sent_once(cluster, tries=tries)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_spool_takes_only_what_is_for_a_silent_primary_and_costs_no_time(
    kind: str, cluster: MadeUpCluster, tmp_path: Path
) -> None:
    """Calls for the others go to Redis, as before; of those for the silent one, one in a second tries it."""
    mend(cluster)
    silent = cluster.owners[FULL]
    others = [number for number in range(ON_A_CLUSTER) if cluster.owners[number] is not silent]
    with closing(Spool(tmp_path)) as spool, produce(kind, cluster.url, timeout=0.5, spool=spool) as producer:
        producer.enqueue_many(EVENTS)
        silent.on_enqueue, silent.on_greeting = (lambda _: None), (lambda: None)
        silent.enqueued.clear()
        began = time.monotonic()
        for _ in range(20):
            for number in (FULL, *others):
                producer.enqueue(EVENTS[number])
        lasted = time.monotonic() - began

        assert spool.is_redis_available
        assert spool.spooled == 20
        assert all(cluster.owners[number].enqueued.count(number) == 21 for number in others)
        assert lasted < 20 * 0.5

        silent.on_enqueue, silent.on_greeting = (lambda _: TAKEN), (lambda: b"+PONG\r\n")
        eventually(lambda: spool.sent == 20, what="they are sent from there")
        eventually(lambda: producer.enqueue(EVENTS[FULL]) and spool.spooled == spool.sent, what="and there it ends")


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_where_no_primary_takes_anything_all_goes_to_the_spool(
    kind: str, cluster: MadeUpCluster, tmp_path: Path
) -> None:
    """At once, as with one Redis that is gone."""
    for node in cluster.nodes:
        node.stop()
    with closing(Spool(tmp_path)) as spool, produce(kind, cluster.url, timeout=0.3, spool=spool) as producer:
        producer.enqueue(EVENTS[0])
        assert not spool.is_redis_available
        assert producer.enqueue_many(EVENTS) == ON_A_CLUSTER
        assert spool.spooled == ON_A_CLUSTER + 1


def test_what_a_spools_chunk_has_sent_is_not_sent_with_each_try(cluster: MadeUpCluster, tmp_path: Path) -> None:
    """As long as a primary is gone, it is tried every second."""
    with closing(Spool(tmp_path)) as spool:
        spool.put(EVENTS, "feedback")
    sender = SpoolSender(tmp_path, lambda queue: FeedbackProducer(cluster.url, timeout=5, queue=queue))
    with closing(sender):
        for _ in range(2):
            with pytest.raises(BrokerUnavailable, match="OOM"):
                list(sender.send())
        mend(cluster)

        assert list(sender.send()) == [ON_A_CLUSTER]
    assert_each_was_sent_once(cluster, tries=2)


def test_an_outbox_keeps_the_rows_of_the_rest_alone(cluster: MadeUpCluster, tmp_path: Path) -> None:
    """The others are carried, counted and gone."""
    metadata = MetaData()
    outbox.table(metadata)
    engine = create_engine(f"sqlite:///{tmp_path}/backend.sqlite3")
    metadata.create_all(engine)
    with engine.begin() as connection:
        for event in EVENTS:
            outbox.add(connection, event)
    with FeedbackProducer(cluster.url, timeout=5) as producer:
        relay = outbox.Relay(engine, producer)
        with pytest.raises(BrokerUnavailable, match="OOM"):
            relay.run_once()
        with engine.connect() as connection:
            assert outbox.status(connection).waiting == 1
        assert relay.relayed == ON_A_CLUSTER - 1

        mend(cluster)
        assert relay.run_once() == 1
    engine.dispose()
    assert_each_was_sent_once(cluster, tries=1)


async def test_of_requests_that_come_together_only_those_fail_whose_events_were_not_taken(
    cluster: MadeUpCluster,
) -> None:
    """The gateway sends them together, and answers each by itself."""
    async with AsyncFeedbackProducer(cluster.url, timeout=5) as producer:
        intake = Intake(producer)
        outcomes = await asyncio.gather(*map(intake.take, EVENTS), return_exceptions=True)

    assert {number for number, outcome in enumerate(outcomes) if outcome is not False} == {FULL}
    assert type(outcomes[FULL]) is BrokerUnavailable
    assert_each_was_sent_once(cluster, tries=0)
