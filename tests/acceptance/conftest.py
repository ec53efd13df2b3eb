"""The whole system, on real parts: Valkey, SQLite, the sandbox, a Celery worker process and Flower."""

from __future__ import annotations

import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests
from celery import Celery
from kombu import pools
from sqlalchemy import select
from sqlalchemy.orm import Session

from producer import FeedbackEvent, FeedbackProducer
from tests.support.environment import FAST, clean_environment
from tests.support.processes import eventually
from worker.database.models import DeadLetter
from worker.dead_letters.replays.queue import LIST
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.partitioned_idempotency import Idempotency, connect_idempotency
from worker.policy.retry import Reason
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from worker.sandbox.client import SandboxClient


@dataclass(frozen=True, kw_only=True)
class System:
    """The running system, seen from all its sides."""

    stack: LocalStack
    sandbox: SandboxClient
    producer: FeedbackProducer
    idempotency: Idempotency
    store: DeadLetterStore
    broker: redis.Redis
    flower: str

    def enqueue(self, request_id: str | None = None, *, status: bool = True, org: str = "org-1") -> FeedbackEvent:
        """Enqueue one event."""
        return self.producer.enqueue(request_id or str(uuid.uuid4()), status, org=org, group="group-1")

    def task(self, sought: str, *, state: str) -> Mapping[str, Any]:
        """What Flower's API reports of the newest task that its search finds in this state, once there is one.

        Args:
            sought: What an operator searches for: a request_id, or a task id.
            state: The state.
        """

        def look() -> Mapping[str, Any] | None:
            asked = {"search": sought, "state": state, "limit": 1}
            answer = requests.get(f"{self.flower}/api/tasks", params=asked, timeout=5)  # type: ignore[arg-type]  # a number is as good
            found: dict[str, Mapping[str, Any]] = answer.json() if answer.ok else {}
            return next(iter(found.values()), None)

        return eventually(look, what=f"Flower reports {sought} as {state}") or {}

    def dead_letter(self, request_id: str) -> DeadLetter | None:
        """The row of a request_id."""
        with Session(self.store.engine) as session:
            return session.scalars(select(DeadLetter).where(DeadLetter.request_id == request_id)).one_or_none()

    def raw_of_invalid(self) -> list[bytes]:
        """What stood in the messages that were no events."""
        with Session(self.store.engine) as session:
            rows = session.scalars(select(DeadLetter).where(DeadLetter.reason == Reason.INVALID)).all()
            return [row.raw or b"" for row in rows]

    def is_idle(self) -> bool:
        """Whether nothing is queued, scheduled or in flight."""
        return not self.broker.exists("feedback", "feedback:delayed", LIST, f"{LIST}:delayed", "unacked")


@pytest.fixture(scope="session")
def running_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The whole system; one for the whole run."""
    folder = tmp_path_factory.mktemp("system")
    with LocalStack(folder=folder, environment=clean_environment() | FAST) as stack:
        broker = stack.start_broker()
        database = stack.create_database()
        with (
            closing(stack.start_sandbox()) as sandbox,
            FeedbackProducer(broker, timeout=5) as producer,
            closing(connect_idempotency(broker, ttl=timedelta(1), lease=timedelta(1), connections=1)) as idempotency,
            closing(DeadLetterStore.connect(database)) as store,
            redis.Redis.from_url(broker) as client,
        ):
            stack.start_worker()
            flower = stack.start_flower()
            yield System(
                stack=stack,
                sandbox=sandbox,
                producer=producer,
                idempotency=idempotency,
                store=store,
                broker=client,
                flower=flower,
            )


@pytest.fixture
def system(running_system: System) -> System:
    """The whole system, with an AquilaX that behaves well, and a worker that has seen that it does."""
    running_system.sandbox.reset()
    running_system.broker.delete("feedback:hold")
    seen = running_system.enqueue().request_id
    eventually(lambda: running_system.sandbox.received_for(seen).delivered, what="AquilaX answers")
    return running_system


@pytest.fixture
def empty_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """A stack with nothing running in it yet."""
    with LocalStack(folder=tmp_path / "stack", environment=clean_environment() | FAST) as stack:
        yield stack


@pytest.fixture
def stack(empty_stack: LocalStack) -> LocalStack:
    """A broker and a database."""
    empty_stack.start_broker()
    empty_stack.create_database()
    return empty_stack


@pytest.fixture
def broker(stack: LocalStack) -> Iterator[redis.Redis]:
    """What stands in the stack's Redis."""
    with redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"]) as client:
        yield client


@pytest.fixture
def store(stack: LocalStack) -> Iterator[DeadLetterStore]:
    """The stack's dead letters."""
    with closing(DeadLetterStore.connect(stack.environment["FEEDBACK_DATABASE_URL"])) as opened:
        yield opened


@pytest.fixture
def producer(stack: LocalStack) -> Iterator[FeedbackProducer]:
    """A chat backend."""
    with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as opened:
        yield opened


@pytest.fixture
def sandbox(stack: LocalStack) -> Iterator[SandboxClient]:
    """An AquilaX that answers well."""
    with closing(stack.start_sandbox()) as client:
        yield client


@pytest.fixture
def three_presses(empty_stack: LocalStack) -> Iterator[LocalStack]:
    """A broker with three events in it, and an AquilaX that takes one, takes one at the second try, and refuses one."""
    broker = empty_stack.start_broker()
    empty_stack.create_database()
    with closing(empty_stack.start_sandbox()) as sandbox, FeedbackProducer(broker, timeout=5) as producer:
        for org, statuses in (("org-ok", [200]), ("org-later", [503, 200]), ("org-never", [404])):
            request_id = str(uuid.uuid4())
            sandbox.script(request_id, statuses)
            producer.enqueue(request_id, True, org=org, group="a group")
        yield empty_stack


@pytest.fixture(scope="module")
def celery_client(running_system: System) -> Iterator[Celery]:
    """A Celery app that knows the broker's address, and nothing else of us."""
    with Celery(broker=running_system.stack.environment["FEEDBACK_BROKER_URL"], set_as_current=False) as app:
        yield app
    pools.reset()  # Kombu keeps one pool for all apps of an address: closed alone, it would fail the next one's calls
