"""The fleet in Flower and on the command line, with a real worker: what it tells, and what it does when it is told."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import command, record_of, succeed
from tests.support.dashboard import API, text_of
from tests.support.flower import ServedFlower, served_flower
from tests.support.processes import eventually
from worker.database.audit_log import actions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from worker.dead_letters.store import DeadLetterStore
    from worker.sandbox.stack import LocalStack


@pytest.fixture
def flower(stack: LocalStack) -> Iterator[ServedFlower]:
    """Flower, in this process, with a worker beside it."""
    environment = stack.environment
    with (
        closing(stack.start_sandbox()),
        served_flower(
            broker_url=environment["FEEDBACK_BROKER_URL"], database_url=environment["FEEDBACK_DATABASE_URL"]
        ) as flower,
    ):
        stack.start_worker()
        yield flower


def worker_when(flower: ServedFlower, fits: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The only worker, once it is so."""

    def look() -> dict[str, Any] | None:
        workers = flower.get("/api/feedback/workers").json()["workers"]
        return next((worker for worker in workers if fits(worker)), None)

    found = eventually(look, what=what)
    assert found is not None
    return found


def test_a_worker_is_seen_and_does_what_it_is_told(
    flower: ServedFlower, stack: LocalStack, store: DeadLetterStore, broker: redis.Redis
) -> None:
    """The first page waits for no answer; each thing that is told is confirmed, and stands in the audit."""
    first = flower.get("/feedback/workers")
    worker = worker_when(flower, lambda one: bool(one["answers"]), "the worker's answer")
    name, places, visitor = worker["name"], worker["places"], flower.session()

    form = text_of(flower.get(f"/feedback/workers/quiet?name={name}"))
    quieted = visitor.send("/feedback/workers/quiet", name=name, comment="its machine is replaced")
    worker_when(flower, lambda one: one["quiet"], "it is quiet")
    page = text_of(flower.get("/feedback/workers"))
    grown = flower.post("/api/feedback/workers/grow", json={"name": name, "by": 3, "comment": "more"}, headers=API)
    worker_when(flower, lambda one: one["places"] == places + 3, "it has grown")
    consumes = succeed(stack.environment, "workers", "consume", name, "--comment", "back", "--actor", "ann")
    record = record_of(stack.environment, "workers", "list", "--json")
    stopped = visitor.send("/feedback/workers/stop", name=name, comment="done")
    eventually(lambda: not broker.zcard("unacked_leases"), what="its lease is given back")

    assert first.status_code == 200
    assert "The workers are being asked" in text_of(first)
    assert "Nothing has been changed yet." in form
    assert (quieted.status_code, quieted.headers["Location"]) == (303, "/feedback/workers?told=quiet")
    assert "quiet" in page
    assert "Let consume…" in page
    assert (grown.status_code, grown.json()["recorded"]) == (200, True)
    assert name in consumes
    assert (record["workers"][0]["queues"], record["workers"][0]["version"]) == (
        ["feedback", "feedback-replays"],
        worker["version"],
    )
    assert stopped.status_code == 303
    assert [(one.action, one.actor) for one in reversed(actions(store.engine))] == [
        ("worker.quiet", "without login, from 127.0.0.1"),
        ("worker.grow", "without login, from 127.0.0.1"),
        ("worker.consume", "ann"),
        ("worker.stop", "without login, from 127.0.0.1"),
    ]
    assert f"quieted worker {name}" in text_of(flower.get("/feedback/audit"))


def test_a_worker_that_does_not_answer_is_told_so_and_nothing_is_changed(
    flower: ServedFlower, stack: LocalStack, broker: redis.Redis, store: DeadLetterStore
) -> None:
    """It holds a lease; what was not done stands in no audit, and read-only Flower tells no worker anything."""
    broker.zadd("unacked_leases", {"host:17:ab.1:gone@host": 4_102_444_800_000})

    silent = worker_when(flower, lambda one: one["answers"] is False, "it is known not to answer")
    refused = flower.session().send("/feedback/workers/shrink", name="gone@host", comment="x", by="1")
    listed = command(stack.environment, "workers", "list")
    flower.app.options.read_only = True
    read_only = flower.session().send("/feedback/workers/stop", name="gone@host", comment="x")

    assert "answers no remote control" in silent["problem"]
    assert (refused.status_code, "did not answer within 3 s" in refused.text) == (409, True)
    assert (listed.exit_code, "silent" in listed.stdout) == (1, True)
    assert (read_only.status_code, "Stop…" in flower.get("/feedback/workers").text) == (403, False)
    assert not actions(store.engine)
