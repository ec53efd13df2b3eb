"""Trouble on the way: an untrusted certificate, an unavailable database, a worker that is replaced."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import requests
from sqlalchemy import func, select

from producer import FeedbackEvent, FeedbackProducer
from tests.support.certificates import self_signed
from tests.support.processes import eventually
from worker.database.models import DeadLetter
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from worker.dead_letters.store import DeadLetterStore
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack


def event() -> FeedbackEvent:
    """A 👍."""
    return FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="org-1", group="group-1")


def test_a_certificate_that_cannot_be_trusted_gets_no_key(
    stack: LocalStack, store: DeadLetterStore, producer: FeedbackProducer, tmp_path: Path
) -> None:
    """A TLS failure is "not now": retried, then kept as exhausted, with the reason; nothing was sent."""
    certificate, key = self_signed(tmp_path)
    flags = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    with closing(stack.start_sandbox(flags, certificate=certificate)) as sandbox:
        stack.start_worker()
        tasks = f"{stack.start_flower()}/api/tasks"

        taken = producer.enqueue(event())
        eventually(lambda: _dead(store) == 1, what="it is exhausted")
        task = eventually(lambda: _failed(tasks, taken.request_id), what="Flower reports it as failed")

        with store.engine.connect() as connection:
            row = connection.execute(select(DeadLetter.reason, DeadLetter.http_status, DeadLetter.response_body)).one()
        assert (row.reason, row.http_status) == (Reason.EXHAUSTED, None)
        assert row.response_body.startswith("TLS failure: ")
        assert task["exception"].startswith("dead letter: exhausted TLS failure: ")
        assert sandbox.received_for(taken.request_id).received == 0


def test_a_database_that_is_away_delays_a_dead_letter_and_sends_nothing_twice(
    stack: LocalStack, store: DeadLetterStore, producer: FeedbackProducer
) -> None:
    """The verdict travels with the event until the dead letter can be written."""
    database = stack.folder / "dead-letters.sqlite3"
    with closing(stack.start_sandbox()) as sandbox:
        worker = stack.start_worker()
        _take_away(database)
        taken = event()
        sandbox.script(taken.request_id, [404], repeat_last=True)

        producer.enqueue(taken)
        eventually(lambda: worker.said().count("the dead-letter database is unavailable") >= 3, what="it waits")
        _bring_back(database)

        eventually(lambda: _dead(store) == 1, what="the dead letter is written")
        assert sandbox.received_for(taken.request_id).received == 1


def test_a_database_that_hangs_holds_up_no_event_that_can_be_delivered(
    stack: LocalStack, store: DeadLetterStore, producer: FeedbackProducer
) -> None:
    """More events die than a worker delivers at once, and wait for the lock; those behind them are delivered."""
    dying, good = [event() for _ in range(150)], [event() for _ in range(150)]
    with closing(stack.start_sandbox()) as sandbox, closing(_lock(stack.folder / "dead-letters.sqlite3")):
        for each in dying:
            sandbox.script(each.request_id, [404], repeat_last=True)
        stack.start_worker()

        producer.enqueue_many([*dying, *good])
        eventually(lambda: sandbox.received().delivered == len(good), what="all that can be are delivered")
        assert _dead(store) == 0

    eventually(lambda: _dead(store) == len(dying), what="the others are dead letters once the lock is released")


def _lock(database: Path) -> sqlite3.Connection:
    """Keep all others from writing until the connection is closed."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_a_worker_that_is_replaced_under_load_loses_nothing(
    stack: LocalStack, store: DeadLetterStore, producer: FeedbackProducer
) -> None:
    """SIGTERM in the middle: what runs is finished, what waits goes back, and the next worker delivers it."""
    events = [event() for _ in range(600)]
    with closing(stack.start_sandbox(["--latency=0.02", "--error-rate=503=0.1"])) as sandbox:
        worker = stack.start_worker("worker-1")
        producer.enqueue_many(events)
        eventually(lambda: sandbox.received().delivered > 100, what="a hundred are delivered")

        stack.stop(worker)
        at_the_stop = sandbox.received().delivered
        stack.start_worker("worker-2")
        eventually(lambda: _delivered_or_dead(sandbox, store) == len(events), what="all are delivered, or dead")

        assert at_the_stop < len(events)
        assert sandbox.received().max_in_flight == 1


def _failed(tasks: str, request_id: str) -> dict[str, Any]:
    """What Flower's API reports of an event's task, once it has failed; nothing before."""
    answer = requests.get(tasks, params={"search": f"kwargs:request_id={request_id}", "state": "FAILURE"}, timeout=5)
    found: dict[str, dict[str, Any]] = answer.json() if answer.ok else {}
    return next(iter(found.values()), {})


def _take_away(database: Path) -> None:
    """A file that can't be opened as a database: what it was is kept aside."""
    for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
        if (path := database.with_name(name)).exists():
            path.rename(path.with_name(f"away-{name}"))
    database.mkdir()


def _bring_back(database: Path) -> None:
    shutil.rmtree(database)
    for path in database.parent.glob(f"away-{database.name}*"):
        path.rename(path.with_name(path.name.removeprefix("away-")))


def _dead(store: DeadLetterStore) -> int:
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(DeadLetter)).scalar_one()


def _delivered_or_dead(sandbox: SandboxClient, store: DeadLetterStore) -> int:
    return sandbox.received().delivered + _dead(store)
