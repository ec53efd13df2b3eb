"""Celery's remote control on the partitions of a cluster: it reaches the worker, and everything that waits."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import requests

from producer import FeedbackEvent, FeedbackProducer
from producer.message import QUEUE
from producer.partitions import ON_A_CLUSTER, partition_of
from tests.support.clusters import PREFIXES, RedisCluster, redis_cluster
from tests.support.commands import reply_to
from tests.support.processes import VALKEY, eventually
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.sandbox.stack import LocalStack

BEING_SENT, PREFETCHED = 2, 2
"""With two places, and a prefetch count of two for each."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries."""
    with redis_cluster(VALKEY, tmp_path / "cluster", replicas=False) as started:
        yield started


def one_of_each_partition() -> list[FeedbackEvent]:
    """An event of every partition."""
    names: dict[int, str] = {}
    while len(names) < ON_A_CLUSTER:
        name = str(uuid.uuid4())
        names.setdefault(partition_of(name, ON_A_CLUSTER), name)
    return [FeedbackEvent(request_id=name, status=True, org="org-1", group="group-1") for name in names.values()]


def task_ids(cluster: RedisCluster) -> list[str]:
    """Those of what waits, in all partitions."""
    found: list[str] = []
    for number, prefix in enumerate(PREFIXES):
        entries = cluster.ask(cluster.owner(number), "LRANGE", f"{prefix}{QUEUE}", 0, -1)
        found += [json.loads(entry)["headers"]["id"] for entry in entries]
    return found


def revoked(cluster: RedisCluster) -> int:
    """How many have ended so, in all partitions."""
    counts = [
        cluster.ask(cluster.owner(number), "HGET", f"{prefix}feedback:counts", "revoked")
        for number, prefix in enumerate(PREFIXES)
    ]
    return sum(int(count or 0) for count in counts)


def test_remote_control_knows_all_partitions(empty_stack: LocalStack, cluster: RedisCluster) -> None:
    """What is being sent, what is prefetched, what is revoked wherever it waits; a pool that grows takes from all."""
    environment = empty_stack.environment
    environment |= {
        "FEEDBACK_BROKER_URL": cluster.url,
        "FEEDBACK_CONCURRENCY": "2",
        "FEEDBACK_REQUEST_TIMEOUT": "100",
    }
    empty_stack.create_database()
    with closing(empty_stack.start_sandbox(["--latency=60"])) as sandbox:
        empty_stack.start_worker()
        eventually(
            lambda: (
                reply_to(environment, "stats")["broker"]["transport_options"]["activity"]
                == {"queues": [QUEUE, "feedback-replays"], "partitions_away": []}
            ),
            timeout=60,
            what="the worker consumes all partitions",
        )

        with FeedbackProducer(cluster.url, timeout=20) as producer:
            assert producer.enqueue_many(one_of_each_partition()) == ON_A_CLUSTER
        eventually(lambda: sandbox.received().requests == BEING_SENT, what="two are being sent")
        left = ON_A_CLUSTER - BEING_SENT - PREFETCHED
        eventually(lambda: len(task_ids(cluster)) == left, what="two more are prefetched")
        active, reserved = (reply_to(environment, what) for what in ("active", "reserved"))
        assert (len(active), len(reserved)) == (BEING_SENT, PREFETCHED), (active, reserved)
        assert not reply_to(environment, "scheduled")

        assert "ok" in reply_to(environment, "revoke", task_id=task_ids(cluster)[:3])
        assert (len(task_ids(cluster)), revoked(cluster)) == (left - 3, 3)
        assert "ok" in reply_to(environment, "rate_limit", task_name="feedback.deliver", rate_limit="100/s")
        assert "ok" in reply_to(environment, "pool_grow", n=2 * ON_A_CLUSTER)
        sent = ON_A_CLUSTER - 3
        eventually(lambda: sandbox.received().requests == sent, what="all the others are being sent, wherever they lay")
        assert task_ids(cluster) == []


def test_a_worker_starts_while_a_server_is_away(empty_stack: LocalStack, cluster: RedisCluster) -> None:
    """It delivers what lies elsewhere, and is ready; revoking says that some partitions can't be asked."""
    environment = empty_stack.environment
    environment |= {"FEEDBACK_BROKER_URL": cluster.url, "FEEDBACK_HEALTH_PORT": str(port := free_port())}
    empty_stack.create_database()
    for server in cluster.servers:
        cluster.ask(server, "CONFIG", "SET", "cluster-require-full-coverage", "no")
    events = one_of_each_partition()
    with FeedbackProducer(cluster.url, timeout=20) as producer:
        producer.enqueue_many(events)
    lost = cluster.owner(ON_A_CLUSTER - 1)
    numbers = {number for number in range(ON_A_CLUSTER) if cluster.owner(number) is not lost}
    there = {event.request_id for event in events if partition_of(event.request_id, ON_A_CLUSTER) in numbers}
    lost.run.kill()
    with closing(empty_stack.start_sandbox()) as sandbox:
        empty_stack.start_worker()
        eventually(lambda: set(sandbox.received_by_request_id()) == there, what="the others' events are delivered")
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10).json() == {"status": "ok"}
        away = reply_to(environment, "stats")["broker"]["transport_options"]["activity"]["partitions_away"]
        assert len(away) == ON_A_CLUSTER - len(there)
        assert f"{len(away)} of {ON_A_CLUSTER} partitions can't be asked" in str(
            reply_to(environment, "revoke", task_id=["none"])
        )
