"""The whole system on the partitions of a cluster: the events of the others don't notice what happens to one server."""

from __future__ import annotations

import json
import os
import signal
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from producer import FeedbackEvent, FeedbackProducer
from producer.partitions import ON_A_CLUSTER, partition_of
from tests.support.clusters import PREFIXES, redis_cluster
from tests.support.commands import succeed
from tests.support.processes import VALKEY, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.clusters import RedisCluster
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack

NO_FAILOVER = ("--cluster-node-timeout", "600000", "--cluster-require-full-coverage", "no")
"""A primary that is away stays away for as long as a test takes."""


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries; no other node takes their places."""
    with redis_cluster(VALKEY, tmp_path / "cluster", replicas=False, options=NO_FAILOVER) as started:
        yield started


@pytest.fixture
def producer(lasting: RedisCluster) -> Iterator[FeedbackProducer]:
    """A backend's."""
    with FeedbackProducer(lasting.url, timeout=20) as made:
        yield made


def press(producer: FeedbackProducer, count: int, *, partitions: set[int]) -> list[str]:
    """Enqueue so many events of these partitions, and return their request_ids."""
    names: list[str] = []
    while len(names) < count:
        name = str(uuid.uuid4())
        if partition_of(name, ON_A_CLUSTER) in partitions:
            names.append(name)
    events = [FeedbackEvent(request_id=name, status=True, org="org-1", group="group-1") for name in names]
    assert producer.enqueue_many(events) == count
    return names


def await_delivered(sandbox: SandboxClient, names: list[str]) -> None:
    """Wait until AquilaX has every one of them."""
    eventually(lambda: set(names) <= set(sandbox.received_by_request_id()), timeout=120, what="all are delivered")


def of_server(cluster: RedisCluster, partition: int) -> set[int]:
    """The partitions that lie where this one does."""
    owner = cluster.owner(partition)
    return {number for number in range(ON_A_CLUSTER) if cluster.owner(number) is owner}


def start(stack: LocalStack, cluster: RedisCluster) -> None:
    """The cluster for a broker, a database, and a worker."""
    stack.environment["FEEDBACK_BROKER_URL"] = cluster.url
    stack.create_database()
    stack.start_worker()


@pytest.mark.parametrize("at", [0, ON_A_CLUSTER - 1], ids=["the first partition's", "another"])
def test_a_frozen_server_stops_its_partitions_only(
    empty_stack: LocalStack, lasting: RedisCluster, producer: FeedbackProducer, sandbox: SandboxClient, at: int
) -> None:
    """The events of the others are delivered meanwhile, and its own once it is back; also where Kombu's keys are."""
    start(empty_stack, lasting)
    frozen, server = of_server(lasting, at), lasting.owner(at)
    others = set(range(ON_A_CLUSTER)) - frozen
    await_delivered(sandbox, press(producer, 40, partitions=set(range(ON_A_CLUSTER))))
    empty_stack.stop(empty_stack.parts[-1])
    waiting = press(producer, 40, partitions=frozen)
    empty_stack.start_worker("worker2")
    await_delivered(sandbox, waiting)
    os.kill(server.run.process.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            await_delivered(sandbox, press(producer, 40, partitions=others))
    finally:
        os.kill(server.run.process.pid, signal.SIGCONT)

    await_delivered(sandbox, press(producer, 40, partitions=frozen))
    eventually(lambda: "balance" in succeed(empty_stack.environment, "reconcile"), timeout=60, what="it balances")


def test_a_hold_stands_in_every_partition_and_any_of_them_ends_it(
    empty_stack: LocalStack, lasting: RedisCluster, producer: FeedbackProducer, sandbox: SandboxClient
) -> None:
    """A wrong key: one probe at a time for all partitions, also if only others than the first have events."""
    sandbox.behave(error_rates={"401": 1.0})
    start(empty_stack, lasting)
    names = press(producer, 60, partitions={3, 9, 15})

    eventually(lambda: [hold for hold in _holds(lasting) if hold] == _holds(lasting), what="all partitions hold")
    eventually(lambda: int(_holds(lasting)[0].get("probes", 0)) >= 2, timeout=60, what="two probes")
    assert sandbox.received().delivered == 0
    assert sandbox.received().requests < 2 * len(names)  # once each before it stood everywhere, and the probes
    assert {hold["kind"] for hold in _holds(lasting)} == {"locked_out"}
    status = json.loads(succeed(empty_stack.environment, "status", "--json"))
    assert status["hold"]["kind"] == "locked_out"

    sandbox.fix()
    await_delivered(sandbox, names)
    eventually(lambda: not any(_holds(lasting)), what="no partition holds")


def test_an_operator_holds_all_partitions_at_once(
    empty_stack: LocalStack, lasting: RedisCluster, producer: FeedbackProducer, sandbox: SandboxClient
) -> None:
    """Before the command returns; and resumes all."""
    start(empty_stack, lasting)
    succeed(empty_stack.environment, "hold", "--comment", "a release", "--actor", "ann")
    assert {hold.get("comment") for hold in _holds(lasting)} == {"a release"}
    names = press(producer, 60, partitions=set(range(ON_A_CLUSTER)))
    assert sandbox.received().requests == 0

    succeed(empty_stack.environment, "resume")
    assert not any(_holds(lasting))
    await_delivered(sandbox, names)


def test_another_number_of_partitions_is_refused(
    empty_stack: LocalStack, lasting: RedisCluster, producer: FeedbackProducer, sandbox: SandboxClient
) -> None:
    """A worker that would look elsewhere for events does not start, and says what to set."""
    start(empty_stack, lasting)
    await_delivered(sandbox, press(producer, 1, partitions={0}))
    empty_stack.environment["FEEDBACK_PARTITIONS"] = "4"

    with pytest.raises(Exception, match="FEEDBACK_PARTITIONS=16"):
        empty_stack.start_worker("worker2")


def _holds(cluster: RedisCluster) -> list[dict[str, Any]]:
    """The hold as it stands in each partition."""
    found = []
    for number, prefix in enumerate(PREFIXES):
        with cluster.client(cluster.owner(number)) as client:
            found.append(client.hgetall(f"{prefix}feedback:hold"))
    return found
