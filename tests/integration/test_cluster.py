"""A real cluster: the producers find the primary that has the queue's slot, and go on wherever that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable
from tests.support.clusters import CLUSTER_PREFIX, SLOT, RedisCluster, redis_cluster
from tests.support.processes import VALKEY, eventually, need
from tests.support.producers import EVENT, attempt, first_enqueue, produce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


servers = pytest.mark.parametrize("cluster", ["valkey", "redis"], indirect=True)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries with a replica each, and a password; of Valkey, if the test does not say."""
    binary = need("redis-server") if getattr(request, "param", "") == "redis" else VALKEY
    with redis_cluster(binary, tmp_path / "cluster", password="s3cr3t") as started:
        yield started


def test_nothing_is_imported_to_find_the_slot(cluster: RedisCluster) -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will release."""
    assert first_enqueue(cluster.url) == (True, "[]")


@both
@servers
def test_the_same_producer_goes_on_after_a_failover(kind: str, cluster: RedisCluster) -> None:
    """The primary is killed, and its replica takes over; nothing that was taken is lost, and no error has a secret."""
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas()
        old = cluster.owner()
        old.run.kill()

        refused = attempt(producer, timeout=0.25)
        new = cluster.await_owner_but(old)
        taken = attempt(producer)

        assert type(refused.error) is BrokerUnavailable
        assert "s3cr3t" not in f"{refused.error} {producer!r}"
        assert refused.seconds < 0.25 + 0.15
        assert taken.error is None
        assert new is cluster.owner()
        assert cluster.queued() == (2, "2")


@both
def test_a_failover_by_hand_costs_no_event_and_no_error(kind: str, cluster: RedisCluster) -> None:
    """The old primary lives on as a replica, and says where the slot is: the call goes there within its time."""
    with produce(kind, cluster.url, timeout=20, max_connections=4) as producer:
        producer.enqueue(EVENT)
        old = cluster.owner()
        cluster.ask(cluster.replica_of(old), "CLUSTER", "FAILOVER")
        cluster.await_owner_but(old)

        outcomes = [attempt(producer) for _ in range(3)]

        assert [outcome.error for outcome in outcomes] == [None] * 3
        assert cluster.queued() == (4, "4")


def test_a_url_that_names_one_node_leads_to_all(cluster: RedisCluster) -> None:
    """The others are learnt from it: it may be gone later."""
    old = cluster.owner()
    named = next(server for server in cluster.primaries() if server is not old)
    url = f"redis+cluster://:s3cr3t@127.0.0.1:{named.port}"
    with produce("threads", url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas()
        successor = cluster.replica_of(old)
        named.run.kill()
        cluster.ask(successor, "CLUSTER", "FAILOVER")
        assert cluster.await_owner_but(old) is successor

        assert attempt(producer).error is None


@servers
def test_a_slot_that_moves(cluster: RedisCluster) -> None:
    """The old way, key by key: while its keys are on their way nothing is taken twice, or lost; then it goes on."""
    old = cluster.owner()
    new = next(server for server in cluster.primaries() if server is not old)
    with produce("threads", cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.ask(new, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", cluster.node_id(old))
        cluster.ask(old, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", cluster.node_id(new))
        _migrate(cluster, old, new, "feedback:counts")

        held_up = attempt(producer, timeout=0.3)
        _migrate(cluster, old, new, "feedback")
        for server in (new, old, *cluster.primaries()):
            cluster.ask(server, "CLUSTER", "SETSLOT", SLOT, "NODE", cluster.node_id(new))
        after = attempt(producer)

        assert type(held_up.error) is BrokerUnavailable
        assert "TRYAGAIN" in str(held_up.error)
        assert after.error is None
        assert cluster.owner() is new
        assert cluster.queued() == (2, "2")


@both
def test_a_frozen_primary_costs_a_call_its_time_and_no_more(kind: str, cluster: RedisCluster) -> None:
    """Until its replica has taken over; what was not answered is uncertain, and is enqueued again."""
    with produce(kind, cluster.url, timeout=0.3) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas()
        old = cluster.owner()
        old.run.pause()
        try:
            slowest = max(attempt(producer).seconds for _ in range(3))
            cluster.await_owner_but(old)
            eventually(lambda: attempt(producer).error is None, what="an event is taken")
        finally:
            old.run.thaw()

        assert slowest < 0.3 + 0.15
        assert cluster.queued()[0] == int(cluster.queued()[1] or 0)


def _migrate(cluster: RedisCluster, old: object, new: object, name: str) -> None:
    login = ["AUTH", cluster.password] if cluster.password else []
    key = CLUSTER_PREFIX + name
    assert cluster.ask(old, "MIGRATE", "127.0.0.1", new.port, key, 0, 5000, *login) == "OK"  # type: ignore[attr-defined, arg-type]


@both
def test_what_a_replica_has_outlives_its_primary(kind: str, cluster: RedisCluster) -> None:
    """The primary is killed while events are enqueued: none that was acknowledged is lost."""
    with produce(kind, cluster.url, timeout=2, replicas=1, max_connections=4) as producer:
        assert attempt(producer).error is None
        old = cluster.owner()
        taken = 1 + sum(attempt(producer).error is None for _ in range(100))
        old.run.kill()
        after = [attempt(producer, timeout=0.3).error for _ in range(3)]
        cluster.await_owner_but(old)

        queued, accepted = cluster.queued()
        assert None not in after, "a primary without a replica confirms nothing"
        assert taken == 101
        assert taken <= queued == int(accepted or 0) <= taken + len(after)
