"""A real cluster: the producers find the primaries that have the partitions, and go on wherever these go."""

from __future__ import annotations

import re
import sys
from subprocess import run
from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from producer.partitions import ON_A_CLUSTER, RECORD, partition_of
from tests.support.cluster_load import an_event_of
from tests.support.clusters import RedisCluster, redis_cluster, slot_at
from tests.support.processes import ROOT, VALKEY, eventually, need
from tests.support.producers import EVENT, attempt, first_enqueue, produce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


servers = pytest.mark.parametrize("cluster", ["valkey", "redis"], indirect=True)

ITS: int = partition_of(EVENT.request_id, ON_A_CLUSTER)
"""The partition of the event that is enqueued most."""


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisCluster]:
    """Three primaries with a replica each, and a password; of Valkey, if the test does not say."""
    binary = need("redis-server") if getattr(request, "param", "") == "redis" else VALKEY
    with redis_cluster(binary, tmp_path / "cluster", password="s3cr3t") as started:
        yield started


def partitions_at(cluster: RedisCluster, server: RedisServer) -> set[int]:
    """The partitions that a node has."""
    return {partition for partition in range(ON_A_CLUSTER) if cluster.owner(partition) is server}


def test_nothing_is_imported_to_find_the_slot(cluster: RedisCluster) -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will release."""
    assert first_enqueue(cluster.url) == (True, "[]")


@both
@servers
def test_each_event_lies_in_its_partition(kind: str, cluster: RedisCluster) -> None:
    """One by one, or many: where its request_id says, and counted there; each primary has some."""
    events = [an_event_of() for _ in range(700)]
    with produce(kind, cluster.url, timeout=20) as producer:
        for event in events[:20]:
            producer.enqueue(event)
        assert producer.enqueue_many(events[20:]) == 680
        producer.ping()

    found = cluster.request_ids()
    assert {name for names in found.values() for name in names} == {event.request_id for event in events}
    for partition, names in found.items():
        assert {partition_of(name, ON_A_CLUSTER) for name in names} == {partition}
    assert cluster.of_each_partition() == [(len(names), len(names)) for names in found.values()]
    assert all(cluster.ask(server, "DBSIZE") for server in cluster.primaries())


@both
@servers
def test_the_same_producer_goes_on_after_a_failover(kind: str, cluster: RedisCluster) -> None:
    """The primary is killed, and its replica takes over; nothing that was taken is lost, and no error has a secret."""
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas(ITS)
        old = cluster.owner(ITS)
        old.run.kill()

        refused = attempt(producer, timeout=0.25)
        new = cluster.await_owner_but(old, ITS)
        taken = attempt(producer)

        assert type(refused.error) is BrokerUnavailable
        assert "s3cr3t" not in f"{refused.error} {producer!r}"
        assert refused.seconds < 0.25 + 0.15
        assert taken.error is None
        assert new is cluster.owner(ITS)
        assert cluster.queued() == (2, 2)


@both
def test_a_call_with_time_outlives_a_failover(kind: str, cluster: RedisCluster) -> None:
    """What surely was not sent goes to the new primary as soon as there is one."""
    with produce(kind, cluster.url, timeout=30) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas(ITS)
        cluster.owner(ITS).run.kill()

        assert attempt(producer).error is None
        assert cluster.queued() == (2, 2)


@both
def test_a_failover_by_hand_costs_no_event_and_no_error(kind: str, cluster: RedisCluster) -> None:
    """The old primary lives on as a replica, and says where the slot is: the call goes there within its time."""
    with produce(kind, cluster.url, timeout=20, max_connections=4) as producer:
        producer.enqueue(EVENT)
        old = cluster.owner(ITS)
        cluster.ask(cluster.replica_of(old), "CLUSTER", "FAILOVER")
        cluster.await_owner_but(old, ITS)

        outcomes = [attempt(producer) for _ in range(3)]

        assert [outcome.error for outcome in outcomes] == [None] * 3
        assert cluster.queued() == (4, 4)


@both
def test_a_url_that_names_one_node_leads_to_all(kind: str, cluster: RedisCluster) -> None:
    """The others are learnt from it: it may be gone later."""
    old = cluster.owner(ITS)
    named = next(server for server in cluster.primaries() if server is not old)
    url = f"redis+cluster://:s3cr3t@127.0.0.1:{named.port}"
    with produce(kind, url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas(ITS)
        successor = cluster.replica_of(old)
        named.run.kill()
        cluster.ask(successor, "CLUSTER", "FAILOVER", "FORCE")
        assert cluster.await_owner_but(old, ITS) is successor

        assert attempt(producer).error is None


@both
@servers
def test_a_slot_that_moves(kind: str, cluster: RedisCluster) -> None:
    """The old way, key by key: while its keys are on their way nothing is taken twice, or lost; then it goes on."""
    old = cluster.owner(ITS)
    new = next(server for server in cluster.primaries() if server is not old)
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
        cluster.begin_to_move(ITS, old, new)
        cluster.move_key(ITS, "feedback:counts", old, new)

        held_up = attempt(producer, timeout=0.3)
        others = producer.enqueue_many([an_event_of(number) for number in range(ON_A_CLUSTER) if number != ITS])
        cluster.move_key(ITS, "feedback", old, new)
        cluster.end_move(ITS, old, new)
        after = attempt(producer)

        assert type(held_up.error) is BrokerUnavailable
        assert "TRYAGAIN" in str(held_up.error)
        assert others == ON_A_CLUSTER - 1
        assert after.error is None
        assert cluster.owner(ITS) is new
        assert cluster.queued() == (ON_A_CLUSTER + 1, ON_A_CLUSTER + 1)


@both
def test_a_slot_that_moves_in_one_step(kind: str, cluster: RedisCluster) -> None:
    """As Valkey 9 does it; a call meanwhile waits, and goes there."""
    old = cluster.owner(ITS)
    new = next(server for server in cluster.primaries() if server is not old)
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
        slot = slot_at(ITS)
        cluster.ask(old, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.node_id(new))
        eventually(lambda: attempt(producer).error is None and cluster.owner(ITS) is new, what="it is there")

        assert attempt(producer).error is None
        queued, accepted = cluster.of_each_partition()[ITS]
        assert queued == accepted >= 3


@both
def test_a_frozen_primary_costs_a_call_its_time_and_no_more(kind: str, cluster: RedisCluster) -> None:
    """Until its replica has taken over; what was not answered is uncertain, and is enqueued again."""
    with produce(kind, cluster.url, timeout=0.3) as producer:
        producer.enqueue(EVENT)
        cluster.await_replicas(ITS)
        old = cluster.owner(ITS)
        old.run.pause()
        try:
            slowest = max(attempt(producer).seconds for _ in range(3))
            cluster.await_owner_but(old, ITS)
            eventually(lambda: attempt(producer).error is None, what="an event is taken")
        finally:
            old.run.thaw()

        assert slowest < 0.3 + 0.15
        assert cluster.queued()[0] == cluster.queued()[1]


@both
def test_of_a_chunk_the_events_of_a_frozen_primary_are_left(kind: str, cluster: RedisCluster) -> None:
    """The others are taken, in the same call; the error says which are which."""
    events = [an_event_of() for _ in range(300)]
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue_many(an_event_of(number) for number in range(ON_A_CLUSTER))
        frozen = cluster.owner(ITS)
        gone = partitions_at(cluster, frozen)
        frozen.run.pause()
        try:
            with pytest.raises(EnqueueUncertain) as told:
                producer.enqueue_many(events, timeout=0.5)
        finally:
            frozen.run.thaw()

    left = tuple(event for event in events if partition_of(event.request_id, ON_A_CLUSTER) in gone)
    assert told.value.not_taken == left
    assert told.value.taken == len(events) - len(left)
    assert f"{len(left)} of 300 events, of {len(gone)} of 16 partitions" in str(told.value)


@both
def test_what_a_replica_has_outlives_its_primary(kind: str, cluster: RedisCluster) -> None:
    """The primary is killed while events are enqueued: none that was acknowledged is lost."""
    with produce(kind, cluster.url, timeout=2, replicas=1, max_connections=4) as producer:
        assert attempt(producer).error is None
        old = cluster.owner(ITS)
        taken = 1 + sum(attempt(producer).error is None for _ in range(100))
        old.run.kill()
        after = [attempt(producer, timeout=0.3).error for _ in range(3)]
        cluster.await_owner_but(old, ITS)

        queued, accepted = cluster.queued()
        assert None not in after, "a primary without a replica confirms nothing"
        assert taken == 101
        assert taken <= queued == accepted <= taken + len(after)


@pytest.mark.parametrize("module", ["forking_backend", "c_forking_backend"])
def test_a_backend_that_forks_shares_no_socket_and_no_map(module: str, cluster: RedisCluster) -> None:
    """While its threads are enqueuing, by Python, and in C as uWSGI does: each child finds the primaries by itself."""
    command = [sys.executable, "-m", f"tests.integration.{module}", cluster.url]
    backend = run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert backend.returncode == 0, backend.stderr
    assert cluster.queued() == (int(backend.stdout), int(backend.stdout))
    for partition, names in cluster.request_ids().items():
        assert len(set(names)) == len(names)
        assert {partition_of(name, ON_A_CLUSTER) for name in names} <= {partition}


@servers
def test_the_rights_that_are_documented_are_enough(cluster: RedisCluster) -> None:
    """Those of a producer, and those behind tags."""
    text = (ROOT / "docs" / "settings.md").read_text()
    lines = re.findall(r"^ *(ACL SETUSER feedback-producer .+)$", text, re.MULTILINE)
    assert len(lines) == 3
    for server in cluster.servers:
        for line in lines:
            cluster.ask(server, *line.split())
    url = cluster.url.replace(":s3cr3t@", "feedback-producer:PASSWORD@")
    with produce("threads", url, timeout=20) as producer:
        producer.enqueue_many(an_event_of(number) for number in range(ON_A_CLUSTER))

    refused = [entry for server in cluster.servers for entry in cluster.ask(server, "ACL", "LOG")]
    assert [entry for entry in refused if "setinfo" not in str(entry)] == []
    assert cluster.queued() == (ON_A_CLUSTER, ON_A_CLUSTER)


@both
@servers
def test_another_number_of_partitions_is_refused(kind: str, cluster: RedisCluster) -> None:
    """Nothing is sent, and the error names the setting; with the right number events are taken."""
    with produce(kind, cluster.url, timeout=20) as producer:
        producer.enqueue(EVENT)
    with produce(kind, cluster.url, timeout=20, partitions=8) as producer:
        refused = attempt(producer)

    assert type(refused.error) is BrokerUnavailable
    assert "made with 16 partitions" in str(refused.error)
    assert "FEEDBACK_PARTITIONS=16" in str(refused.error)
    assert refused.seconds < 2
    assert cluster.queued() == (1, 1)
    names = [name for server in cluster.primaries() for name in cluster.ask(server, "KEYS", "*")]
    assert RECORD in names
    assert len(names) == 3
