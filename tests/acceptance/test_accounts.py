"""The accounts of the whole system: they balance while it works, and after everything that an operator may do to it."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis
from sqlalchemy import update

from producer import FeedbackEvent, FeedbackProducer
from tests.support.commands import record_of, succeed
from tests.support.dead_letter_records import rows_of
from tests.support.processes import eventually
from worker.accounting.reconcile import Report, reconcile
from worker.clients.redis.partitions import Partitions
from worker.database.models import DeadLetter
from worker.dead_letters.replays.queue import LIST
from worker.dead_letters.store import DeadLetterStore
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack


def _events(number: int) -> list[FeedbackEvent]:
    return [
        FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="org-1", group="group-1") for _ in range(number)
    ]


def _celery(stack: LocalStack, *command: str) -> None:
    whole = [sys.executable, "-m", "celery", "-A", "worker", *command]
    subprocess.run(whole, env=stack.environment, timeout=100, check=True)


def _json(stack: LocalStack, *command: str) -> dict[str, Any]:
    return record_of(stack.environment, *command)


def _reconciled(stack: LocalStack) -> dict[str, Any]:
    """The accounts, which have to balance."""
    record = _json(stack, "reconcile")
    assert (record["status"], record["balances"], record["dead_letters"]["missing"]) == (0, True, 0), record
    return record


def _redis(stack: LocalStack) -> redis.Redis:
    """A client that looks into the queue."""
    return redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"])


def _store(stack: LocalStack) -> closing[DeadLetterStore]:
    return closing(DeadLetterStore.connect(stack.environment["FEEDBACK_DATABASE_URL"]))


def _waiting(record: dict[str, Any]) -> int:
    return int(record["queued"] + record["in_flight"] + record["scheduled"])


def test_the_accounts_balance_while_everything_is_at_work(stack: LocalStack, producer: FeedbackProducer) -> None:
    """With retries, dead letters, duplicates, and a worker that is killed: at every moment and at the end."""
    flags = ["--latency=0.2", "--error-rate=503=0.1", "--unknown-share=0.1"]
    events = _events(1000)
    with closing(stack.start_sandbox(flags)) as sandbox:
        stack.start_worker("worker-1")
        doomed = stack.start_worker("worker-2")
        producer.enqueue_many(events)
        producer.enqueue_many(events[:100])

        at_work = [_reconciled(stack)]
        stack.kill(doomed)
        while _waiting(at_work[-1]):
            at_work.append(_reconciled(stack))
        ended = at_work[-1]

        assert len([record for record in at_work if _waiting(record)]) >= 1
        assert ended["accepted"] == 1100
        assert ended["dead"] > 0
        assert ended["duplicate"] > 0
        dead = _reasons(stack)
        assert ended["dead_letters"]["inserted"] == ended["dead_letters"]["rows"] == len(dead)
        delivered = {name for name, found in sandbox.received_by_request_id().items() if found.delivered}
        assert delivered | dead.keys() == {event.request_id for event in events}
        # AquilaX has some that are dead all the same, if its answer came too late, or only one of two presses died.
        assert {dead[name] for name in delivered & dead.keys()} <= {Reason.EXHAUSTED}
        assert _json(stack, "status")["accepted"] == 1100


def _reasons(stack: LocalStack) -> dict[str, Reason]:
    """The reason in the row of each request_id that has one."""
    with _store(stack) as store:
        return {str(row.request_id): row.reason for row in rows_of(store)}


def test_the_accounts_are_exact_while_every_event_dies(stack: LocalStack, producer: FeedbackProducer) -> None:
    """At any moment some rows are written that are not counted yet: none of them is called too much."""
    client, reports = _redis(stack), list[Report]()
    with closing(stack.start_sandbox(["--unknown-share=1", "--latency=0.02"])), closing(client), _store(stack) as store:
        stack.start_worker()
        producer.enqueue_many(_events(2000))
        while not reports or reports[-1].balance.queued:
            reports.append(reconcile(Partitions([client]), lambda: store.engine))

    dying = [report for report in reports if report.balance.queued]
    assert len(dying) > 1
    assert {(report.balances, report.is_wrong, report.rows_missing) for report in reports} == {(True, False, 0)}


def test_a_replay_is_a_new_message_and_its_row_an_old_one(stack: LocalStack, producer: FeedbackProducer) -> None:
    """Its end is counted, and what dies again makes no second row."""
    fixed, hopeless = _events(2)
    with closing(stack.start_sandbox()) as sandbox:
        sandbox.script(fixed.request_id, [404, 200])
        sandbox.script(hopeless.request_id, [404], repeat_last=True)
        stack.start_worker()
        producer.enqueue_many([fixed, hopeless])
        eventually(lambda: _json(stack, "status")["dead"] == 2, what="both are dead")
        assert _reconciled(stack)["dead_letters"]["inserted"] == 2

        succeed(stack.environment, "dead-letters", "replay", "--yes")
        eventually(lambda: _json(stack, "status")["dead"] == 3, what="one is dead again")

        ended = eventually(lambda: _idle(stack), what="both replays have ended")
        assert (ended["accepted"], ended["dead"], ended["delivered"]) == (4, 3, 1)
        assert (ended["dead_letters"]["inserted"], ended["dead_letters"]["rows"]) == (2, 2)
        assert ended["dead_letters"]["by_state"] == {"dead": 1, "replaying": 0, "delivered": 1, "discarded": 0}


def _idle(stack: LocalStack) -> dict[str, Any]:
    """The accounts, once nothing waits any more; nothing before."""
    record = _reconciled(stack)
    return {} if _waiting(record) else record


def test_what_celery_purges_is_counted_as_purged(stack: LocalStack, producer: FeedbackProducer) -> None:
    """Ours, a foreign client's, and what waits for its time."""
    producer.enqueue_many(_events(20))
    _celery(stack, "call", "feedback.deliver", "--kwargs", "{}", "--countdown", "3600")
    before = _reconciled(stack)

    _celery(stack, "purge", "-f")

    after = _reconciled(stack)
    assert (before["accepted"], before["uncounted"], before["queued"], before["scheduled"]) == (20, 1, 20, 1)
    assert (after["purged"], after["accepted"], _waiting(after)) == (21, 21, 0)
    assert _json(stack, "status")["purged"] == 21


def test_what_celery_revokes_is_counted_as_revoked(stack: LocalStack, producer: FeedbackProducer) -> None:
    """By its task's id; and no task of ours has seen it."""
    revoked, delivered = _events(2)
    with closing(stack.start_sandbox()) as sandbox:
        succeed(stack.environment, "hold", "--comment", "a test")
        stack.start_worker()
        producer.enqueue_many([revoked, delivered])
        with redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"]) as client:
            first = json.loads(client.lindex("feedback", -1) or b"")["headers"]["id"]
        _celery(stack, "control", "revoke", first)
        eventually(lambda: _json(stack, "status")["revoked"] == 1, what="it has ended")
        succeed(stack.environment, "resume")

        ended = eventually(lambda: _idle(stack), what="both have ended")

        assert (ended["accepted"], ended["revoked"], ended["delivered"]) == (2, 1, 1)
        assert sandbox.received_for(revoked.request_id).received == 0
        assert _json(stack, "status")["revoked"] == 1


def test_a_worker_is_seen_with_what_it_holds(stack: LocalStack, producer: FeedbackProducer) -> None:
    """As long as its lease lasts, also if it is dead; then another one holds what it had."""
    stack.environment |= {"FEEDBACK_REQUEST_TIMEOUT": "100", "FEEDBACK_LEASE": "10"}
    with closing(stack.start_sandbox(["--latency=90"])) as sandbox:
        worker = stack.start_worker()
        producer.enqueue_many(_events(4))
        eventually(lambda: _json(stack, "status")["in_flight"] == 4, what="it holds them")

        stack.kill(worker)
        dead = _json(stack, "status")
        sandbox.fix()
        stack.start_worker("worker-2")
        eventually(lambda: _json(stack, "status")["delivered"] == 4, what="another one delivers them")

        assert [holder["holds"] for holder in dead["holders"] if holder["holds"]] == [4]
        assert _idle(stack)


def test_what_was_lost_is_found_and_mended(stack: LocalStack, producer: FeedbackProducer) -> None:
    """A replay that was deleted from Redis is missing there, and stuck in the table; then all is in order."""
    (event,) = _events(1)
    with closing(stack.start_sandbox()) as sandbox:
        sandbox.script(event.request_id, [404])
        worker = stack.start_worker()
        producer.enqueue(event)
        eventually(lambda: _json(stack, "status")["dead"] == 1, what="it is dead")
        stack.stop(worker)
    succeed(stack.environment, "dead-letters", "replay", "--yes")
    with redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"]) as client:
        client.delete(LIST)
    _let_a_minute_pass(stack)

    soon = ("reconcile", "--patience", "1")
    found, fixed, after = _json(stack, *soon), _json(stack, *soon, "--repair"), _reconciled(stack)

    assert (found["status"], found["missing"], found["dead_letters"]["stuck_replaying"]) == (1, 1, [1])
    assert fixed["status"] == 1
    assert (after["written_off"], after["dead_letters"]["by_state"]["dead"]) == (1, 1)


def _let_a_minute_pass(stack: LocalStack) -> None:
    """Since the rows were marked, for so long they are given time."""
    database = stack.environment["FEEDBACK_DATABASE_URL"]
    with closing(DeadLetterStore.connect(database)) as store, store.engine.begin() as connection:
        marked = {"last_replay_at": datetime.now(UTC) - timedelta(minutes=1, seconds=1)}
        connection.execute(update(DeadLetter).values(marked))
