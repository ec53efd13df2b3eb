"""A queue of several partitions in a real cluster: what is told of its nodes, and of partitions that are away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from producer.message import QUEUE
from producer.partitions import slot_of
from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.partitions import enqueue, message_of, opened, request_ids, take
from tests.support.places import places_of
from tests.support.processes import VALKEY, eventually, need, redis_server
from worker.accounting.backlog import take_backlog
from worker.accounting.continuity import look_at_continuity, record
from worker.accounting.integrity import check
from worker.accounting.reconcile import Report
from worker.accounting.repair import repair_redis
from worker.accounting.snapshot import take_partial_snapshot, take_snapshot
from worker.accounting.strays import find_strays
from worker.clients.redis.connections import recorded_partitions
from worker.delivery.hold import Hold
from worker.gateway.probes import Readiness
from worker.observability.backlog_metrics import OfBacklog
from worker.observability.collectors import OfQueue
from worker.operations.cli import main
from worker.operations.doctor.cluster import look_at_partitions, look_at_record, look_at_servers
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.clients.redis.partitions import Partitions
    from worker.dead_letters.store import DeadLetterStore
    from worker.operations.doctor.finding import Finding


@pytest.fixture(scope="module", params=["valkey", "redis"])
def _cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    binary = VALKEY if request.param == "valkey" else need("redis-server")
    with redis_cluster(binary, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> RedisCluster:
    """Three primaries with a replica each, empty, and named by the settings."""
    for server in _cluster.primaries():
        _cluster.ask(server, "FLUSHALL")
    monkeypatch.setenv("FEEDBACK_BROKER_URL", _cluster.url)
    return _cluster


@pytest.fixture
def partitions(cluster: RedisCluster) -> Iterator[Partitions]:
    """Sixteen of them."""
    with opened(cluster.url) as partitions:
        yield partitions


def invoke(*words: str) -> Result:
    """Run a command."""
    ended = CliRunner().invoke(main, list(words))
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def by_check(findings: Iterator[Finding]) -> dict[str, tuple[str, str]]:
    """Level and summary of each check."""
    return {finding.check: (finding.level.value, finding.summary) for finding in findings}


def configure(cluster: RedisCluster, name: str, value: str) -> None:
    """Set an option of every node."""
    for server in cluster.servers:
        cluster.ask(server, "CONFIG", "SET", name, value)


@pytest.mark.usefixtures("table")
def test_the_doctor_looks_at_every_primary(cluster: RedisCluster, partitions: Partitions) -> None:
    """Replicas, what stops all of them, and whether each has its share."""
    settings = load_settings()

    def found() -> dict[str, tuple[str, str]]:
        return by_check(look_at_servers(partitions, settings))

    first = found()
    assert first["broker cluster"] == ("green", "6 nodes, all slots are served")
    assert first["broker replicas"] == ("green", "1 replica, which takes over if it dies")
    assert first["broker coverage"][0] == "yellow"
    assert first["partitions' spread"] == ("green", "16 partitions on 3 primaries: 6, 5, 5")

    configure(cluster, "cluster-require-full-coverage", "no")
    configure(cluster, "min-replicas-to-write", "1")
    try:
        level, summary = found()["broker replicas"]
        assert (level, "once that has taken over, it takes no events" in summary) == ("yellow", True)
        assert found()["broker coverage"][0] == "green"
    finally:
        configure(cluster, "min-replicas-to-write", "0")
    second = cluster.primaries()[1]
    cluster.ask(second, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        level, summary = found()["broker eviction"]
        assert (level, summary.split(":")[:2]) == ("red", ["127.0.0.1", str(second.port)])
    finally:
        cluster.ask(second, "CONFIG", "SET", "maxmemory-policy", "noeviction")


def test_another_number_of_partitions_is_red(cluster: RedisCluster) -> None:
    """Than the queue was made with."""
    made = recorded_partitions(cluster.url, partitions=16)
    made.check()
    told = recorded_partitions(cluster.url, partitions=8)

    [finding] = look_at_record(told, tells=True)

    assert (finding.level, "was made with 16" in finding.summary) == ("red", True)
    assert "FEEDBACK_PARTITIONS=16" in finding.fix
    assert [finding.level for finding in look_at_record(made, tells=True)] == ["green"]
    made.close()
    told.close()


def test_strays_of_every_primary_go_home(cluster: RedisCluster, partitions: Partitions) -> None:
    """Whatever node a list lies on, also beside a partition's own keys."""
    names = [f"{number}:{QUEUE}" for number in range(200)]
    owners = {one.primary: one for one in partitions.slots()}
    lists = [
        next(name for name in names if owner.first <= slot_of(name) <= owner.last) for owner in owners.values()
    ] + [f"{partitions[3].key_prefix}{QUEUE}:odd"]  # type: ignore[attr-defined]  # as `with_prefix` sets it
    for at, name in enumerate(lists):
        with partitions.of_key(name.encode()) as client:
            client.lpush(name, *(message_of(one) for one in request_ids(20)[at * 5 : at * 5 + 5]))

    strays = find_strays(partitions, within=10)

    assert (sorted(stray.name for stray in strays.lists), strays.entries) == (sorted(lists), 20)
    report = Report(checks=tuple(partitions.ask_all(check)), strays=strays)
    assert len(list(repair_redis(partitions, report))) == 4
    now = take_snapshot(partitions)
    assert (now.queued, now.balance.accepted, now.balance.missing) == (20, 20, 0)
    assert sorted(name for names in cluster.request_ids().values() for name in names) == sorted(request_ids(20))
    assert find_strays(partitions, within=10).lists == ()


@pytest.mark.usefixtures("table")
def test_a_redis_is_moved_to_a_cluster(cluster: RedisCluster, partitions: Partitions, tmp_path: Path) -> None:
    """By the command; each event lies where the producers look for it."""
    with redis_server(VALKEY, tmp_path) as server, places_of(server) as places:
        places.client.lpush(QUEUE, *map(message_of, request_ids(30)))
        places.count(accepted=50, delivered=20)

        ended = invoke("move", "--from", server.url)

        assert ended.exit_code == 0, ended.output
        assert "messages moved: 30" in ended.stdout
        assert not places.client.keys("*")
    assert sorted(name for names in cluster.request_ids().values() for name in names) == sorted(request_ids(30))
    now = take_snapshot(partitions)
    assert (now.balance.accepted, now.balance.counts["delivered"], now.balance.missing) == (50, 20, 0)
    assert invoke("reconcile", "--patience", "0").exit_code == 0


@pytest.mark.usefixtures("table")
def test_the_status_tells_of_partitions_and_nodes(cluster: RedisCluster, partitions: Partitions) -> None:
    """The sums as ever; the deepest partitions with their node; in JSON all of them."""
    enqueue(partitions, *request_ids(50))
    for client in partitions:
        take(client, "host:1:a.1:one@h")

    record_ = json.loads(invoke("status", "--json").stdout)
    text = invoke("status").stdout

    assert (record_["queued"], record_["workers"]["alive"], len(record_["partitions"])) == (50, 1, 16)
    assert sum(one["queued"] for one in record_["partitions"]) == 50
    ports = {str(server.port) for server in cluster.primaries()}
    assert {one["node"].rpartition(":")[2] for one in record_["partitions"]} == ports
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("partitions"))
    assert lines[at] == "partitions    16 on 3 nodes"
    assert len([line for line in lines if "127.0.0.1:" in line]) == 8
    assert lines[at + 9].strip().startswith("8 more: ")


@pytest.fixture
def without_replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisCluster]:
    """Three primaries alone, which go on without each other."""
    options = ["--cluster-require-full-coverage", "no"]
    with redis_cluster(VALKEY, tmp_path / "cluster", replicas=False, options=options) as cluster:
        monkeypatch.setenv("FEEDBACK_BROKER_URL", cluster.url)
        yield cluster


def test_a_primary_that_is_away_is_told_and_hides_no_other(
    without_replicas: RedisCluster, table: DeadLetterStore
) -> None:
    """The other partitions are told one by one, and no sum pretends to be whole; no autoscaler goes to nothing."""
    cluster = without_replicas
    with opened(cluster.url, patience=0.5, retries=0) as partitions:
        enqueue(partitions, *request_ids(60))
        for client in partitions:
            take(client, "host:1:a.1:one@h")
        record(partitions, table.engine), record(partitions, table.engine)
        owners = [cluster.owner(number) for number in range(16)]
        victim = next(server for server in cluster.servers if server is not owners[0])
        away = [number for number, owner in enumerate(owners) if owner is victim]
        there = sum(partitions.number_of(name) not in away for name in request_ids(60))
        victim.run.kill()
        eventually(lambda: [part.number for part in take_partial_snapshot(partitions).unavailable] == away, what="gone")

        now = take_partial_snapshot(partitions)
        assert (now.queued, now.workers, now.is_whole) == (there, 1, False)
        assert (take_backlog(partitions).messages, take_backlog(partitions).unfinished) == (there, there + len(away))
        series = _scraped(partitions)
        assert {series[f"partition_up {number:02d}"] for number in away} == {0}
        assert sum(value for name, value in series.items() if name.startswith("partition_queued_messages")) == there
        assert (series["redis_up"], "queued_messages" in series, "hold operator" in series) == (1, False, True)
        assert series["unfinished_work"] == there + len(away)
        [finding] = look_at_partitions(now)
        assert (finding.level, ", ".join(f"{number:02d}" for number in away) in finding.summary) == ("red", True)
        found = look_at_continuity(partitions, table.engine)
        assert (found.is_lost, len(found.parts)) == (False, 16 - len(away))

        status = invoke("status", "--json")
        told = json.loads(status.stdout)
        assert (status.exit_code, told["queued"], told["redis"]["up"], told["workers"]["alive"]) == (1, None, False, 1)
        assert [one["number"] for one in told["partitions"] if not one["up"]] == away
        text = invoke("status").stdout
        assert f"PARTIAL       what follows is of the {16 - len(away)} partitions that can be asked, of 16" in text
        reconciled = invoke("reconcile", "--patience", "0")
        assert (reconciled.exit_code, "partition" in reconciled.stdout) == (2, True)


def _scraped(partitions: Partitions) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(OfQueue(lambda: take_partial_snapshot(partitions)))
    registry.register(OfBacklog(lambda: take_backlog(partitions), lambda: 0))
    return {
        " ".join([sample.name.removeprefix("aquilax_feedback_"), *sample.labels.values()]): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_a_frozen_primary_is_waited_for_once(without_replicas: RedisCluster) -> None:
    """However many partitions it has, and however often they are asked; when it goes on they are there again."""
    cluster = without_replicas
    with opened(cluster.url, patience=0.5, retries=0) as partitions:
        enqueue(partitions, *request_ids(60))
        owners = [cluster.owner(number) for number in range(16)]
        victim = next(server for server in cluster.servers if server is not owners[0])
        away = [number for number, owner in enumerate(owners) if owner is victim]
        victim.run.pause()
        try:
            looks = [take_partial_snapshot(partitions) for _ in range(3)]
            partial = take_partial_snapshot(partitions, away=looks[0].unavailable)
        finally:
            victim.run.thaw()

        assert [[part.number for part in look.unavailable] for look in (*looks, partial)] == [away] * 4
        eventually(lambda: take_partial_snapshot(partitions).is_whole, what="all are there again")
        assert take_snapshot(partitions).queued == 60


@pytest.mark.usefixtures("table")
def test_without_the_first_partition_the_others_are_told(without_replicas: RedisCluster) -> None:
    """The hold that they have a copy of, what waits in them; the gateway takes their events."""
    cluster = without_replicas
    with opened(cluster.url, patience=0.5, retries=0) as partitions:
        enqueue(partitions, *request_ids(60))
        for client in partitions:
            Hold(client, actor="a test").hold("maintenance", actor="ann")
        readiness = Readiness(partitions, spool_has_room=lambda: False)
        owners = [cluster.owner(number) for number in range(16)]
        there = sum(owners[partitions.number_of(name)] is not owners[0] for name in request_ids(60))
        owners[0].run.kill()
        eventually(lambda: take_partial_snapshot(partitions).parts[0].snapshot is None, what="the first one is away")

        now = take_partial_snapshot(partitions)
        assert (now.queued, now.hold is not None) == (there, True)
        assert (take_backlog(partitions).messages, take_backlog(partitions).unfinished > there) == (0, True)
        assert "hold operator" not in _scraped(partitions)
        assert asyncio.run(readiness(None)).status == 200  # type: ignore[arg-type]  # a probe needs no request
        status = invoke("status", "--json")
        told = json.loads(status.stdout)
        assert (status.exit_code, told["redis_data"], told["hold"]["comment"]) == (1, None, "maintenance")
