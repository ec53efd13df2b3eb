"""A primary is lost, or a slot moves, while events are enqueued: none that was acknowledged is lost, others go on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
import redis

from producer import EnqueueUncertain
from producer.partitions import ON_A_CLUSTER
from tests.support.cluster_load import ClusterLoad, cluster_load
from tests.support.clusters import RedisCluster, redis_cluster, slot_at
from tests.support.processes import VALKEY, RedisServer, eventually, need

if TYPE_CHECKING:
    from pathlib import Path

HURT: Final = 7
"""The partition whose primary is hurt, or whose slot moves."""

OTHERS_WITHIN: Final = 2.0
"""Seconds that a call for another primary may take. Of the default `cluster-require-full-coverage yes` is that all
primaries refuse for up to a second when one of them has failed."""

TIMEOUTS: Final = {"killed": 4, "frozen": 4}
"""Seconds of a call, else 10: where a primary has lost its only replica each call waits its whole time for it."""


def _kill(cluster: RedisCluster, old: RedisServer) -> None:
    old.run.kill()
    cluster.await_owner_but(old, HURT)


def _freeze(cluster: RedisCluster, old: RedisServer) -> None:
    old.run.pause()
    try:
        cluster.await_owner_but(old, HURT)
    finally:
        old.run.thaw()


def _fail_over(cluster: RedisCluster, old: RedisServer) -> None:
    successor = cluster.replica_of(old)

    def is_primary() -> bool:
        if cluster.ask(successor, "ROLE")[0] == "slave":  # it is given up by itself if it takes 5 s
            with suppress(redis.ResponseError):
                cluster.ask(successor, "CLUSTER", "FAILOVER")
        return cluster.owner(HURT) is successor

    eventually(is_primary, what="the replica has taken over")


def _move_by_key(cluster: RedisCluster, old: RedisServer) -> None:
    new = next(server for server in cluster.primaries() if server is not old)
    cluster.begin_to_move(HURT, old, new)
    for name in ("feedback:counts", "feedback"):
        cluster.move_key(HURT, name, old, new)
    cluster.end_move(HURT, old, new)
    cluster.await_owner_but(old, HURT)


def _move_at_once(cluster: RedisCluster, old: RedisServer) -> None:
    new = next(server for server in cluster.primaries() if server is not old)
    slot = slot_at(HURT)
    cluster.ask(old, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.node_id(new))
    cluster.await_owner_but(old, HURT)


WAYS: Final = {
    "killed": _kill,
    "frozen": _freeze,
    "failover": _fail_over,
    "moved by key": _move_by_key,
    "moved at once": _move_at_once,
}


@pytest.mark.alone
@pytest.mark.parametrize(
    ("server", "way", "kind"),
    [
        ("valkey", "killed", "threads"),
        ("valkey", "frozen", "asyncio"),
        ("valkey", "failover", "asyncio"),
        ("valkey", "moved by key", "threads"),
        ("valkey", "moved at once", "asyncio"),
        ("redis", "killed", "asyncio"),
        ("redis", "failover", "threads"),
    ],
)
def test_what_was_acknowledged_is_there_and_other_primaries_are_not_held_up(
    server: str, way: str, kind: str, tmp_path: Path
) -> None:
    """With a replica's confirmation: also what a primary took that was cut off already."""
    binary = need("redis-server") if server == "redis" else VALKEY
    with redis_cluster(binary, tmp_path / "cluster", password="s3cr3t") as cluster:
        old = cluster.owner(HURT)
        hurt = {number for number in range(ON_A_CLUSTER) if cluster.owner(number) is old}
        others = set(range(ON_A_CLUSTER)) - hurt
        with cluster_load(kind, cluster.url, timeout=TIMEOUTS.get(way, 10), replicas=1) as load:
            _await_more(load, range(ON_A_CLUSTER))
            WAYS[way](cluster, old)
            _await_more(load, range(ON_A_CLUSTER) if way != "killed" else others)
        _assert_kept(load, cluster)

    if way.startswith("moved"):
        assert load.errors(hurt) == []
    if way == "failover":  # where a replica's confirmation was waited for just then
        assert {type(error) for error in load.errors(hurt)} <= {EnqueueUncertain}
    assert load.errors(others) == []
    assert load.slowest(others) < OTHERS_WITHIN


def _await_more(load: ClusterLoad, partitions: range | set[int]) -> None:
    """Wait until so many more events of each of these partitions are acknowledged."""
    before = {number: len(load.acknowledged[number]) for number in partitions}

    def has_more(number: int) -> bool:
        return len(load.acknowledged[number]) >= before[number] + 20

    eventually(lambda: all(map(has_more, partitions)), what="events of each partition are acknowledged")


def _assert_kept(load: ClusterLoad, cluster: RedisCluster) -> None:
    found = cluster.request_ids()
    assert all(queued == accepted for queued, accepted in cluster.of_each_partition())
    for partition, names in load.acknowledged.items():
        assert set(names) <= set(found[partition])
        assert len(found[partition]) == len(set(found[partition])), "none was sent twice by itself"
