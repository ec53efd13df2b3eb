"""What is told of each worker: by its lease, by its answer, and beside the others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from worker.clients.redis.partitions import Partitions
from worker.operations.doctor.fleet import Fleet
from worker.operations.workers.view import HeldLeases, WorkerView, leases_of, view_of_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

LONG_FROM_NOW = 4_102_444_800_000


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    """A Redis with nothing in it."""
    with fakeredis.FakeRedis() as client:
        yield client


def lease(client: redis.Redis, node: str, *tags: str, until: int = LONG_FROM_NOW, since: float = 1_700_000_000) -> None:
    """Let a worker hold messages."""
    name = f"host:17:{node[:1]}.1:{node}"
    client.zadd("unacked_leases", {name: until})
    for place, tag in enumerate(tags):
        client.sadd(f"unacked_held:{name}", tag)
        client.zadd("unacked_index", {tag: since + place})


def stats(*, version: str = "2.0", busy: int = 1, **settings: Any) -> dict[str, Any]:
    """What a worker answers."""
    about = {"version": version, "settings": {"FEEDBACK_LEASE": 30.0} | settings, "in_flight": {"without_end": 2.5}}
    return {"feedback": about, "pool": {"max-concurrency": 8, "deliveries": busy}, "uptime": 3600, "pid": 17}


def fleet(**answers: dict[str, Any]) -> Fleet:
    """All workers' answers; each consumes the queue."""
    return Fleet(stats=answers, queues={name: frozenset({"feedback"}) for name in answers})


def seen(client: redis.Redis, answered: Fleet | None) -> dict[str, WorkerView]:
    """The workers by name."""
    return {worker.name: worker for worker in view_of_workers(leases_of(Partitions([client])), answered)}


def test_a_worker_is_told_by_its_lease_and_its_answer(client: redis.Redis) -> None:
    """What it holds and since when, its places, and how long it has been there."""
    lease(client, "a", "t1", "t2")

    worker = seen(client, fleet(a=stats()))["a"]

    assert (worker.holds, worker.places, worker.busy, worker.uptime) == (2, 8, 1, timedelta(hours=1))
    assert worker.since is not None
    assert (worker.since.timestamp(), worker.without_end, worker.problem) == (1_700_000_000, timedelta(seconds=2.5), "")
    assert (worker.queues, worker.is_quiet, worker.process) == (("feedback",), False, "host:17")


def test_settings_and_releases_are_compared_with_what_most_have(client: redis.Redis) -> None:
    """So that the one that is wrong is named, and not the many."""
    for name in "abc":
        lease(client, name)
    answers = fleet(a=stats(), b=stats(), c=stats(version="1.9", FEEDBACK_LEASE=60.0, FEEDBACK_NEW="x"))

    workers = seen(client, answers)

    assert list(workers) == ["c", "a", "b"]
    assert [workers[name].is_other_version for name in "abc"] == [False, False, True]
    assert workers["a"].differences == ()
    assert workers["c"].differences == (("FEEDBACK_LEASE", "60.0", "30.0"),)


def test_a_lease_without_an_answer_is_told_only_once_all_were_asked(client: redis.Redis) -> None:
    """One that has ended is dead, and comes first with those that are silent; one without a lease answers."""
    lease(client, "dead", "t", until=1)
    lease(client, "silent", "t2")
    lease(client, "well")

    before, after = seen(client, None), seen(client, fleet(well=stats(), quiet=stats()))

    assert {worker.answers for worker in before.values()} == {None}
    assert not before["silent"].problem
    assert list(after) == ["dead", "silent", "quiet", "well"]
    assert (after["dead"].is_alive, after["silent"].is_alive, after["silent"].answers) == (False, True, False)
    assert "answers no remote control" in after["silent"].problem
    assert after["quiet"].lease_left is None


def test_partitions_that_a_worker_does_not_consume_are_named(client: redis.Redis) -> None:
    """As far as they could be asked."""
    with fakeredis.FakeRedis() as other:
        lease(client, "a", "t1")
        lease(other, "b", "t2")
        partitions = Partitions([client, other])

        workers = view_of_workers(leases_of(partitions), None)

    assert {worker.name: worker.away for worker in workers} == {"a": (1,), "b": (0,)}


def test_an_answer_of_any_shape_breaks_nothing(client: redis.Redis) -> None:
    """A plain Celery worker answers, too, and tells nothing of ours."""
    lease(client, "a", "t")
    odd: dict[str, Any] = {"feedback": [1], "pool": "solo", "uptime": "long"}

    worker = seen(client, Fleet(stats={"a": odd}, queues={}, same_name={"a": 2}))["a"]

    assert (worker.version, worker.places, worker.uptime, worker.is_quiet) == ("", None, None, True)
    assert worker.problem.startswith("2 workers have this name")
    assert worker.to_record()["holds"] == 1


def test_nothing_is_told_of_no_worker() -> None:
    """An empty fleet is one."""
    assert view_of_workers(HeldLeases(), fleet()) == []
