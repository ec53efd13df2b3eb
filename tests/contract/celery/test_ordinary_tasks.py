"""What Celery does over Redis, it does over this transport: canvas, retries, countdowns, control; on every pool."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from tests.contract.celery.ordinary import create_app
from tests.support.processes import VALKEY, Running, eventually, redis_server, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer

POOLS = ("threads", "prefork", "solo", "gevent", "eventlet")
LEASE = 4.0
SOON = 20


class Fleet:
    """Workers of one pool on a Redis of their own, and the app as a client of it."""

    def __init__(self, server: RedisServer, folder: Path, pool: str) -> None:
        self.server, self.folder, self.pool = server, folder, pool
        self.app = create_app(server.url, {})
        self.client: redis.Redis = server.client()

    @contextmanager
    def worker(self, name: str, *options: str) -> Iterator[Running]:
        """Run one more worker, and wait until it takes tasks."""
        command = [sys.executable, "-m", "celery", "-A", "tests.contract.celery.ordinary", "worker"]
        command += ["-P", self.pool, "-c", "4", "-n", f"{name}@here", "-l", "INFO", *options]
        environment = os.environ | {
            "ORDINARY_BROKER": self.server.url,
            "ORDINARY_OPTIONS": json.dumps({"lease": LEASE}),
        }
        with running(command, log=self.folder / f"{name}.log", env=environment) as process:
            eventually(lambda: " ready." in process.output(), what=f"{name} is ready")
            yield process

    def task(self, name: str, *args: Any) -> Any:
        """A task with its arguments."""
        return self.app.tasks[name].s(*args)

    def run(self, name: str, *args: Any) -> Any:
        """Run a task, and return its result."""
        return self.task(name, *args).delay().get(timeout=SOON)

    def key(self) -> str:
        """A key of its own."""
        return f"test:{uuid.uuid4()}"

    def noted(self, key: str) -> list[str]:
        """What tasks noted under a key."""
        found: Any = self.client.lrange(key, 0, -1)
        return list(found)

    def close(self) -> None:
        """Close what is open."""
        self.app.backend.result_consumer.stop()
        self.app.close()
        self.client.close()


@pytest.fixture(scope="module", params=POOLS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker on each of Celery's pools."""
    folder = tmp_path_factory.mktemp(request.param)
    with (
        redis_server(VALKEY, folder / "valkey") as server,
        closing(Fleet(server, folder, request.param)) as fleet,
        fleet.worker("one"),
    ):
        yield fleet


def test_a_result_comes_back(fleet: Fleet) -> None:
    """Of one task, and of a hundred."""
    assert fleet.run("add", 2, 3) == 5
    hundred = group(fleet.task("add", number, number) for number in range(100))
    assert hundred().get(timeout=SOON) == [2 * number for number in range(100)]


def test_a_canvas_is_worked_off(fleet: Fleet) -> None:
    """Chains, groups, chords, and chords of chains."""
    add, join = partial(fleet.task, "add"), partial(fleet.task, "join")
    assert chain(add(1, 2), add(4), add(8))().get(timeout=SOON) == 15
    assert chord([add(1, 1), add(2, 2)], join("-"))().get(timeout=SOON) == "2-4"
    assert chord([chain(add(1, 1), add(1)), add(2, 2)], join("+"))().get(timeout=SOON) == "3+4"
    assert fleet.app.tasks["add"].chunks([(1, 1), (2, 2), (3, 3)], 2)().get(timeout=SOON) == [[2, 4], [6]]


def test_a_countdown_is_waited_for(fleet: Fleet) -> None:
    """By the clock of Redis, which here is this machine's."""
    begun = time.time()
    ran = fleet.task("clock").apply_async(countdown=1.2).get(timeout=SOON)
    assert 1.1 <= ran - begun <= 4


def test_what_is_not_due_takes_no_room(fleet: Fleet) -> None:
    """However many wait for tomorrow, in a sorted set; what is due today is run meanwhile."""
    waiting = [fleet.task("add", 1, 1).apply_async(countdown=86_400) for _ in range(50)]
    assert fleet.run("add", 2, 2) == 4

    assert fleet.client.zcard("celery:delayed") == 50
    # A task is acknowledged after its result is there, together with others.
    eventually(lambda: fleet.client.hlen("unacked") == 0, what="nothing is in flight")
    shown = fleet.app.control.inspect(limit=1, timeout=10).scheduled() or {}
    assert {entry["request"]["id"] for entry in shown["one@here"]} == {result.id for result in waiting}
    fleet.client.delete("celery:delayed")


def test_a_task_that_retries_is_tried_again(fleet: Fleet) -> None:
    """Each time after its countdown, and never twice at once."""
    begun = time.monotonic()
    assert fleet.run("attempts", 4, 0.3) == 4
    assert time.monotonic() - begun >= 0.9


def test_a_revoked_task_is_not_run(fleet: Fleet) -> None:
    """It waits for its time while it is revoked."""
    key = fleet.key()
    fleet.task("note", key, "revoked").apply_async(countdown=1).revoke()
    fleet.task("note", key, "not revoked").apply_async(countdown=1.5).get(timeout=SOON)

    assert fleet.noted(key) == ["not revoked"]


def test_a_rate_limit_is_kept(fleet: Fleet) -> None:
    """Three in a second at the most."""
    fleet.app.control.rate_limit("clock", "3/s", reply=True, limit=1, timeout=10)
    times = sorted(group(fleet.task("clock") for _ in range(6))().get(timeout=SOON))
    fleet.app.control.rate_limit("clock", "0", reply=True, limit=1, timeout=10)

    assert times[-1] - times[0] >= 1.2


def test_workers_answer(fleet: Fleet) -> None:
    """As Flower asks them, and as it controls them."""
    inspect = fleet.app.control.inspect(limit=1, timeout=10)
    assert inspect.ping() == {"one@here": {"ok": "pong"}}
    assert "add" in (inspect.registered() or {})["one@here"]
    assert (inspect.stats() or {})["one@here"]["broker"]["transport"] == "redis"
    assert [queue["name"] for queue in (inspect.active_queues() or {})["one@here"]] == ["celery"]


def test_a_worker_can_be_given_a_queue_and_relieved_of_it(fleet: Fleet) -> None:
    """While it runs."""
    key = fleet.key()
    fleet.task("note", key, "early").apply_async(queue="extra")
    fleet.app.control.add_consumer("extra", reply=True, limit=1, timeout=10)
    eventually(lambda: fleet.noted(key) == ["early"], what="the new queue is consumed")

    fleet.app.control.cancel_consumer("extra", reply=True, limit=1, timeout=10)
    assert fleet.run("add", 1, 1) == 2
    fleet.task("note", key, "late").apply_async(queue="extra")
    assert fleet.run("add", 1, 1) == 2
    assert fleet.client.llen("extra") == 1
    fleet.client.delete("extra")


def test_a_task_longer_than_the_lease_is_run_once(fleet: Fleet) -> None:
    """Another worker stands by, and would take it."""
    key = fleet.key()
    with fleet.worker("other"):
        assert fleet.run("nap", key, 2.5 * LEASE) == "rested"

        assert fleet.noted(key) == ["begun", "ended"]
        eventually(lambda: not fleet.client.hlen("unacked"), what="it is acknowledged")


def test_what_a_killed_worker_held_is_run_by_another(fleet: Fleet) -> None:
    """Soon after its lease has ended; tasks that it had begun, and those that it had only fetched."""
    key = fleet.key()
    with fleet.worker("doomed", "-Q", "theirs") as doomed:
        for _ in range(6):
            fleet.task("nap", key, 1.0).apply_async(queue="theirs")
        eventually(lambda: "begun" in fleet.noted(key), what="one has begun")
        doomed.kill()
        interrupted = fleet.noted(key).count("begun") - fleet.noted(key).count("ended")
    killed_at = time.monotonic()
    fleet.app.control.add_consumer("theirs", reply=True, limit=1, timeout=10)
    eventually(lambda: fleet.noted(key).count("ended") == 6, timeout=60, what="all six have ended")

    assert time.monotonic() - killed_at < 30
    assert fleet.noted(key).count("begun") == 6 + interrupted
    eventually(lambda: not fleet.client.exists("unacked", "unacked_index"), what="nothing is left in flight")
    fleet.app.control.cancel_consumer("theirs", reply=True, limit=1, timeout=10)


@pytest.mark.parametrize("fleet", ["threads"], indirect=True)
def test_the_urgent_ones_are_run_first(fleet: Fleet) -> None:
    """The lowest number is the most urgent, as on Kombu's own transport; Redis decides it, and no pool."""
    key = fleet.key()
    for value, priority in (("later", 9), ("soon", 3), ("now", 0)):
        fleet.task("note", key, value).apply_async(queue="ranked", priority=priority)
    with fleet.worker("orderly", "-Q", "ranked", "-c", "1"):
        eventually(lambda: len(fleet.noted(key)) == 3, what="all three have run")

    assert fleet.noted(key) == ["now", "soon", "later"]


@pytest.mark.parametrize("fleet", ["prefork"], indirect=True)
def test_a_process_that_is_lost_takes_no_task_with_it(fleet: Fleet) -> None:
    """The pool's own process ended in the middle of it; the other pools run tasks in the worker's own process."""
    assert fleet.run("lost", fleet.key()) == "survived"
