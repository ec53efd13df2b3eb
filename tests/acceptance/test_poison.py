"""Poison in the queue: whatever a Celery message may hold, the worker goes on, and what it held is kept whole."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
import zlib
from base64 import b64encode
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from producer import FeedbackProducer
from tests.support.commands import succeed
from tests.support.environment import FAST, clean_environment
from tests.support.processes import eventually
from worker.broker.payload import MAX_BYTES
from worker.database.models import DeadLetter
from worker.policy.retry import Reason
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import Part

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
KWARGS = {"request_id": ID, "status": "true", "org": "o", "group": "g"}


def message(payload: object, **changes: Any) -> str:
    """A Celery message with this body, but for what is changed."""
    headers = {"task": "feedback.deliver", "id": str(uuid.uuid4()), "lang": "py", "retries": 0}
    envelope = {
        "body": b64encode(json.dumps(payload).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers | changes.pop("headers", {}),
        "properties": {
            "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "feedback"},
            "body_encoding": "base64",
        },
    }
    return json.dumps(envelope | changes)


POISON = {
    "a body that is no base64": message(None, body="!!!"),
    "a body that is no JSON": message(None, body=b64encode(b"{not json").decode()),
    "a body that is no text": message(None, body=b64encode(b"\xff\xfe").decode()),
    "a body that is a number": message(5),
    "a body that is an empty list": message([]),
    "a body that is an object": message({"a": 1}),
    "args that are null": message([None, KWARGS, {}]),
    "kwargs that are a list": message([[], [1], {}]),
    "kwargs that are text": message([[], "x", {}]),
    "an embed that is text": message([[], KWARGS, "x"]),
    "a task that is not ours": message([[], KWARGS, {}], headers={"task": "feedback.delivr"}),
    "a pickle": message(None, **{"content-type": "application/x-python-serialize"}),
    "an unknown content type": message([[], KWARGS, {}], **{"content-type": "application/x-unheard-of"}),
    "an eta that is no time": message([[], KWARGS, {}], headers={"eta": "soon"}),
    "an eta in eight thousand years": message([[], KWARGS, {}], headers={"eta": "9999-12-31T23:59:59-23:59"}),
    "a task of Celery's own": message([[], KWARGS, {}], headers={"task": "celery.backend_cleanup"}),
    "a task of another queue": message([[1, 1], {}, {}], headers={"task": "feedback.advance_replay"}),
    "what five workers were lost over": message([[], KWARGS, {}], headers={"feedback_unended": 5}),
    "headers that name no task, and a body that names none": json.dumps(
        json.loads(message({"args": [], "kwargs": KWARGS})) | {"headers": {}}
    ),
}


@dataclass
class Running:
    """A system with a worker of its own: poison must not end the other tests' worker."""

    stack: LocalStack
    worker: Part
    sandbox: SandboxClient
    broker: redis.Redis
    engine: Engine
    seen: set[int] = field(default_factory=set)

    def inserted(self) -> DeadLetter | None:
        """A dead letter `invalid` that has not been seen yet."""
        with Session(self.engine) as session:
            for row in session.scalars(select(DeadLetter).where(DeadLetter.reason == Reason.INVALID)):
                if row.id not in self.seen:
                    self.seen.add(row.id)
                    return row
        return None

    def deliver(self, **options: Any) -> None:
        """Enqueue an event with a plain Celery client, and wait until it is delivered."""
        request_id = str(uuid.uuid4())
        with Celery(broker=self.stack.environment["FEEDBACK_BROKER_URL"], set_as_current=False) as app:
            fields = KWARGS | {"request_id": request_id}
            app.send_task("feedback.deliver", kwargs=fields, queue="feedback", **options)
        eventually(lambda: self.sandbox.received_for(request_id).status == "true", what="it is delivered")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker that all of these tests poison."""
    with LocalStack(folder=tmp_path_factory.mktemp("poison"), environment=clean_environment() | FAST) as stack:
        broker = stack.start_broker()
        engine = create_engine(stack.create_database())
        with closing(stack.start_sandbox()) as sandbox, redis.Redis.from_url(broker) as client:
            yield Running(stack, stack.start_worker(), sandbox, client, engine)
        engine.dispose()


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_poison_is_kept_whole_and_the_worker_goes_on(poisoned: Running, poison: str) -> None:
    """One dead letter `invalid`, with all that stood in the message; and the next event is delivered."""
    poisoned.broker.lpush("feedback", poison)

    row = eventually(poisoned.inserted, what="a dead letter")

    assert row is not None
    kept = json.loads(row.raw or b"")
    assert kept["properties"]["delivery_tag"] == json.loads(poison)["properties"]["delivery_tag"]
    assert row.response_body
    poisoned.deliver()
    assert poisoned.worker.is_running
    eventually(lambda: not poisoned.broker.exists("unacked"), what="it is acknowledged")


SIGNATURE = {"task": "feedback.deliver", "args": [], "kwargs": {}, "options": {"queue": "elsewhere"}}

ODD: dict[str, dict[str, Any]] = {
    "a time limit that is text": {"headers": {"timelimit": "x"}},
    "a shadow that is an object": {"headers": {"shadow": {"a": 1}}},
    "an id that is a list": {"headers": {"id": [1]}},
    "an eta before the first day": {"headers": {"eta": "0001-01-01T00:00:00+23:59"}},
    "no id": {"headers": {"id": None}},
    "stamps that are a number": {"headers": {"stamped_headers": [5], "stamps": 5}},
    "retries that are text": {"headers": {"retries": "x"}},
    "a group and a chord": {"headers": {"group": "x"}, "embed": {"chord": SIGNATURE}},
    "a chain that is a number": {"embed": {"chain": 5}},
    "a chain": {"embed": {"chain": [SIGNATURE]}},
    "callbacks": {"embed": {"callbacks": [SIGNATURE, SIGNATURE]}},
    "errbacks of no type": {"embed": {"errbacks": {"a": 1}}},
    "a priority that is no number": {"priority": "x"},
    "another queue to retry in": {"delivery_info": {"exchange": "", "routing_key": "elsewhere"}},
}


def test_an_event_is_delivered_whatever_celery_would_be_told(poisoned: Running) -> None:
    """Each of these kept its place in a worker for ever, or lost the event, or published with the worker's login."""
    sent = {name: str(uuid.uuid4()) for name in ODD}
    poisoned.sandbox.script(sent["another queue to retry in"], [503])
    for name, request_id in sent.items():
        odd = ODD[name]
        entry = json.loads(message([[], KWARGS | {"request_id": request_id}, odd.get("embed", {})], **odd_headers(odd)))
        entry["properties"] |= {part: value for part, value in odd.items() if part in {"priority", "delivery_info"}}
        poisoned.broker.lpush("feedback", json.dumps(entry))

    for name, request_id in sent.items():
        eventually(lambda: poisoned.sandbox.received_for(request_id).status == "true", what=name)  # noqa: B023 - looked at at once

    eventually(lambda: not poisoned.broker.exists("unacked"), what="all are acknowledged")
    assert not poisoned.broker.exists("elsewhere")


def odd_headers(odd: dict[str, Any]) -> dict[str, Any]:
    """The headers of an odd message, as `message` takes them."""
    return {"headers": odd["headers"]} if "headers" in odd else {}


def test_an_invalid_message_that_holds_an_event_can_be_replayed(poisoned: Running) -> None:
    """It is kept with its event; and the queue is not blamed on an operator."""
    request_id = str(uuid.uuid4())
    payload = [[], KWARGS | {"request_id": request_id}, {}]
    poisoned.broker.lpush("feedback", message(payload, headers={"task": "feedback.delivr"}))
    row = eventually(poisoned.inserted, what="a dead letter")
    assert row is not None
    assert (row.request_id, row.org) == (request_id, "o")

    succeed(poisoned.stack.environment, "dead-letters", "replay", str(row.id), "--yes", "--no-wait")

    eventually(lambda: poisoned.sandbox.received_for(request_id).status == "true", what="it is delivered")
    assert poisoned.broker.hget("feedback:counts", "revoked") is None


def test_what_stands_in_the_wrong_queue_is_counted_where_it_belongs(poisoned: Running) -> None:
    """An event is delivered; anything else is a dead letter of the queue of feedback. The books say so."""
    request_id = str(uuid.uuid4())
    for entry in (
        message([[], KWARGS | {"request_id": request_id}, {}]),
        message([[], {}, {}], headers={"task": "x"}),
        "?",
    ):
        poisoned.broker.lpush("feedback-replays", entry)

    eventually(lambda: poisoned.sandbox.received_for(request_id).status == "true", what="the event is delivered")
    rows = [eventually(poisoned.inserted, what="a dead letter") for _ in range(2)]

    assert sorted(row.raw == b"?" for row in rows if row) == [False, True]
    eventually(lambda: not poisoned.broker.exists("unacked"), what="all are acknowledged")
    succeed(poisoned.stack.environment, "reconcile")


def test_an_event_that_has_expired_is_delivered_all_the_same(poisoned: Running) -> None:
    """Celery would drop it without a word; a person's feedback does not go stale by the clock."""
    poisoned.deliver(expires=-1)


def test_poison_waits_for_the_database(poisoned: Running) -> None:
    """While the dead letter can't be written the message waits in Redis, and comes again."""
    with closing(sqlite3.connect(poisoned.stack.folder / "dead-letters.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        poisoned.broker.lpush("feedback", message(5))
        eventually(lambda: "events are snoozed: the dead-letter database" in poisoned.worker.said(), what="it waits")

        eventually(lambda: poisoned.broker.zcard("feedback:delayed") == 1, what="it waits in Redis")
        with FeedbackProducer(poisoned.stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
            event = producer.enqueue(str(uuid.uuid4()), status=True, org="o", group="g")
        eventually(lambda: poisoned.sandbox.received_for(event.request_id).status == "true", what="work goes on")

    assert eventually(poisoned.inserted, what="a dead letter") is not None


def _resident(worker: Part) -> int:
    """Bytes of memory that a process has."""
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_what_is_too_large_costs_no_memory_and_is_kept_with_its_beginning(poisoned: Running) -> None:
    """Neither an entry of 24 MB, whose beginning is kept, nor small ones whose bodies would unpack to 300 MB each."""
    poisoned.deliver()
    before = _resident(poisoned.worker)
    body = b64encode(zlib.compress(bytes(300 * MAX_BYTES), 9)).decode()
    bomb = message(None, body=body, headers={"compression": "application/x-gzip"})
    large = "x" * (24 * MAX_BYTES)

    poisoned.broker.lpush("feedback", large, *[bomb] * 20)
    rows = [eventually(poisoned.inserted, what="a dead letter")]
    rows += [eventually(poisoned.inserted, what="another") for _ in range(1)]

    words = sorted(row.response_body for row in rows if row is not None)
    assert words[0].startswith(f"it is too large: {len(large)} bytes, of which {MAX_BYTES} are allowed")
    assert words[1] == f"its body unpacks to more than {MAX_BYTES} bytes"
    raws = {row.raw for row in rows if row is not None}
    assert raws == {large[: 64 * 1024].encode(), bomb.encode()}
    poisoned.deliver()
    eventually(lambda: not poisoned.broker.exists("unacked", "feedback"), what="all are acknowledged")
    assert _resident(poisoned.worker) < before + 48 * MAX_BYTES
