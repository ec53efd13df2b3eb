"""The whole system on a cluster: its primary is replaced, its slot moves, and every event is delivered."""

from __future__ import annotations

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from producer import EnqueueUncertain, FeedbackEvent, FeedbackProducer
from producer.partitions import RECORD
from tests.support.clusters import PREFIXES, SLOT, redis_cluster
from tests.support.processes import VALKEY, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.clusters import RedisCluster
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries, a replica of each, a password."""
    with redis_cluster(VALKEY, tmp_path / "cluster", password="s3cr3t") as started:
        yield started


@pytest.fixture
def stack(empty_stack: LocalStack, cluster: RedisCluster) -> LocalStack:
    """The cluster for a broker, and a database."""
    empty_stack.environment["FEEDBACK_BROKER_URL"] = cluster.url
    empty_stack.create_database()
    return empty_stack


def command(stack: LocalStack, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "worker.operations.cli", *arguments],
        env=stack.environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def enqueue(producer: FeedbackProducer, number: int) -> list[str]:
    """Enqueue events one by one, and again what may not have been taken; return their request_ids."""
    names = []
    for _ in range(number):
        event = FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="org-1", group="group-1")
        while True:
            try:
                producer.enqueue(event)
            except EnqueueUncertain:
                continue
            break
        names.append(event.request_id)
    return names


def await_delivered(sandbox: SandboxClient, names: list[str]) -> None:
    """Wait until AquilaX has every one of them."""
    eventually(lambda: set(names) <= set(sandbox.received_by_request_id()), timeout=120, what="all are delivered")


def test_a_worker_goes_with_the_slot(stack: LocalStack, cluster: RedisCluster, sandbox: SandboxClient) -> None:
    """A failover by hand, a primary that is killed, and the books balance; Flower knows the worker."""
    worker = stack.start_worker()
    flower = stack.start_flower()
    with FeedbackProducer(cluster.url, timeout=30) as producer:
        names = enqueue(producer, 50)
        await_delivered(sandbox, names)
        first = cluster.owner()
        cluster.ask(cluster.replica_of(first), "CLUSTER", "FAILOVER")
        second = cluster.await_owner_but(first)
        names += enqueue(producer, 50)
        await_delivered(sandbox, names)
        eventually(lambda: cluster.ask(second, "ROLE")[2] != [], what="the old one follows")
        cluster.await_replicas()
        second.run.kill()
        cluster.await_owner_but(second)
        names += enqueue(producer, 50)
        await_delivered(sandbox, names)

    eventually(lambda: command(stack, "reconcile")[0] == 0, timeout=90, what="the books balance")
    assert "150" in command(stack, "status")[1]
    assert "s3cr3t" not in worker.said()
    workers = requests.get(f"{flower}/api/workers?status=1", timeout=30).json()
    assert list(workers.values()) == [True]


def test_every_key_lies_in_a_partition(stack: LocalStack, cluster: RedisCluster, sandbox: SandboxClient) -> None:
    """Also Kombu's, and those of commands; but for the number of partitions, which is looked for first."""
    lost = str(uuid.uuid4())
    sandbox.script(lost, [404], repeat_last=True)
    stack.start_worker()
    with FeedbackProducer(cluster.url, timeout=30) as producer:
        producer.enqueue(lost, True, org="org-1", group="group-1")
        await_delivered(sandbox, [lost, *enqueue(producer, 5)])
    dead = eventually(lambda: "404" in command(stack, "dead-letters", "list")[1], timeout=60, what="it is dead")
    assert dead

    done = [
        command(stack, *arguments)
        for arguments in (("status",), ("hold", "--comment", "a release"), ("resume",), ("doctor",))
    ]

    assert [status for status, _ in done[:3]] == [0, 0, 0], done
    assert "red" not in done[3][1].split(), done[3]
    keys = [key for server in cluster.primaries() for key in cluster.ask(server, "KEYS", "*")]
    assert [key for key in keys if not key.startswith(PREFIXES)] == [RECORD]


def test_a_slot_that_moves_under_load(stack: LocalStack, cluster: RedisCluster, sandbox: SandboxClient) -> None:
    """Atomically, as Valkey 9 does it, while events are enqueued and delivered, and a worker is killed."""
    stack.start_worker("worker1")
    lost = stack.start_worker("worker2")
    old = cluster.owner()
    new = next(server for server in cluster.primaries() if server is not old)
    with FeedbackProducer(cluster.url, timeout=30) as producer, ThreadPoolExecutor() as threads:
        enqueued = threads.submit(enqueue, producer, 400)
        eventually(lambda: cluster.queued()[1], what="events are enqueued")
        cluster.ask(old, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", cluster.node_id(new))
        stack.kill(lost)
        assert cluster.await_owner_but(old) is new
        names = enqueued.result(timeout=120)
        await_delivered(sandbox, names)

    eventually(lambda: command(stack, "reconcile")[0] == 0, timeout=90, what="the books balance")
    assert cluster.owner() is new
