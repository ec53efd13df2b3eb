"""Replay plans on real parts: workers advance them, and a kill at any moment misses no row and sends none twice."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import redis
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from tests.support.dead_letter_records import a_record, an_event
from tests.support.processes import eventually
from worker.database.models import DeadLetter, State
from worker.database.replay_models import ReplayState
from worker.dead_letters.columns import new_row
from worker.dead_letters.replays.lifecycle import cancel, pause, resume
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import find
from worker.dead_letters.replays.queue import workers_watch
from worker.dead_letters.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.dead_letters.replays.queries import Plan, Progress
    from worker.dead_letters.store import DeadLetterStore
    from worker.sandbox.client import SandboxClient
    from worker.sandbox.stack import LocalStack

EVERYTHING = Selection()
ROWS = 10_000


@pytest.fixture
def stack(stack: LocalStack) -> LocalStack:
    """A broker and a database; no worker yet."""
    stack.environment |= {"FEEDBACK_LEASE": "3", "FEEDBACK_CONCURRENCY": "20"}
    return stack


@pytest.fixture
def broker(stack: LocalStack) -> Iterator[redis.Redis]:
    """A look into Redis."""
    with redis.Redis.from_url(stack.environment["FEEDBACK_BROKER_URL"], decode_responses=True) as client:
        yield client


def _fill(store: DeadLetterStore, number: int, **changes: Any) -> list[str]:
    """Insert many at once, and return their request_ids."""
    records = [a_record(an_event(request_id=str(uuid.uuid4())), **changes) for _ in range(number)]
    with Session(store.engine) as session:
        session.connection().execute(insert(DeadLetter), [new_row(one) for one in records])
        session.commit()
    return [one.event.request_id for one in records if one.event]


def _count(store: DeadLetterStore, state: State) -> int:
    with store.engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(DeadLetter).where(DeadLetter.state == state)) or 0


def _ended(store: DeadLetterStore, plan: Plan, *, within: float = 60) -> Plan:
    eventually(lambda: not find(store.engine, plan.id).is_active, timeout=within, what="the plan ends")
    return find(store.engine, plan.id)


@pytest.mark.timeout(900)
def test_ten_thousand_rows_with_a_kill_in_the_middle(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore, broker: redis.Redis
) -> None:
    """Both workers are killed with -9 at once, while rows go and are delivered; others go on. Each row arrives once."""
    wanted = _fill(store, ROWS)
    workers = [stack.start_worker(f"worker{number}") for number in (1, 2)]
    plan = create(store.engine, EVERYTHING, actor="test", rate=2000)
    eventually(lambda: find(store.engine, plan.id).progress.gone > ROWS / 3, timeout=60, what="a third has gone")

    for worker in workers:
        stack.kill(worker)
    assert find(store.engine, plan.id).progress.waiting, "it was killed in the middle"
    for number in (3, 4):
        stack.start_worker(f"worker{number}")

    ended = _ended(store, plan, within=180)
    assert ended.state is ReplayState.FINISHED
    assert (ended.progress.delivered, ended.progress.gone) == (ROWS, ROWS)
    assert _count(store, State.DELIVERED) == ROWS
    received = sandbox.received_by_request_id()
    assert set(received) == set(wanted)
    assert all(account.delivered for account in received.values())
    assert int(broker.hget("feedback:counts", "accepted") or 0) == ROWS, "none was enqueued twice"
    assert int(broker.hget("feedback:counts", "delivered") or 0) == ROWS


def test_a_worker_takes_up_a_plan_by_itself_and_can_be_told_to_pause(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore
) -> None:
    """To make it needs no Redis; what is paused stands still, and goes on when it is resumed."""
    _fill(store, 60)
    stack.start_worker()
    plan = create(store.engine, EVERYTHING, actor="test", rate=20)
    eventually(lambda: find(store.engine, plan.id).progress.delivered, what="the first rows arrive")

    pause(store.engine, plan.id, actor="test")
    eventually(lambda: not find(store.engine, plan.id).progress.enqueued, what="what went arrives")
    still = find(store.engine, plan.id)
    assert (still.state, still.progress.waiting > 0) == (ReplayState.PAUSED, True)
    resume(store.engine, plan.id, actor="test")

    assert _ended(store, plan).progress.delivered == 60
    assert sandbox.received().delivered == 60


def test_a_cancelled_plan_leaves_the_rest_dead(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore
) -> None:
    """And what went is delivered, and known to be."""
    _fill(store, 60)
    stack.start_worker()
    plan = create(store.engine, EVERYTHING, actor="test", rate=20)
    eventually(lambda: find(store.engine, plan.id).progress.delivered, what="the first rows arrive")

    cancel(store.engine, plan.id, actor="test")

    def progress_at_rest() -> Progress | None:
        progress = find(store.engine, plan.id).progress
        return None if progress.sending or progress.enqueued else progress

    progress = eventually(progress_at_rest, what="what was being sent goes and arrives")
    assert progress is not None
    assert progress.delivered + progress.waiting == 60
    assert progress.delivered == sandbox.received().delivered
    assert _count(store, State.DEAD) == progress.waiting > 0


def test_a_canary_that_is_refused_again_stops_the_plan(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore
) -> None:
    """The cause is not fixed: AquilaX is asked for the canaries, and for no more."""
    sandbox.behave(unknown_share=1)
    _fill(store, 50)
    stack.start_worker()

    plan = create(store.engine, EVERYTHING, actor="test", canary=2)

    ended = _ended(store, plan)
    assert ended.state is ReplayState.STOPPED
    assert "died again" in ended.stopped_because
    # The first canary that dies stops it; the other one may be on its way, and dies too.
    eventually(lambda: _count(store, State.DEAD) == 50, what="every row is dead again")
    assert sandbox.received().request_ids <= 2


def test_canaries_that_arrive_open_the_way_for_the_rest(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore
) -> None:
    """The cause is fixed: all of them arrive."""
    _fill(store, 50)
    stack.start_worker()

    ended = _ended(store, create(store.engine, EVERYTHING, actor="test", canary=2))

    assert (ended.state, ended.progress.delivered) == (ReplayState.FINISHED, 50)
    assert ended.canary_passed_at is not None
    assert sandbox.received().delivered == 50


def test_a_plan_survives_a_purge_of_its_queue(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore, broker: redis.Redis
) -> None:
    """The message of the next step is gone; a worker finds the plan overdue and goes on."""
    _fill(store, 30)
    stack.start_worker()
    plan = create(store.engine, EVERYTHING, actor="test", rate=0.5)
    eventually(lambda: broker.zcard("feedback-replays:delayed"), what="the next step waits for its time")

    command = [sys.executable, "-m", "celery", "-A", "worker", "purge", "-f", "-Q", "feedback-replays"]
    purge = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=True)
    assert "Purged 1 message" in purge.stdout
    gone = find(store.engine, plan.id).progress.gone

    eventually(lambda: find(store.engine, plan.id).progress.gone > gone + 1, what="the plan goes on")
    assert sandbox.received().delivered


def test_a_worker_for_feedback_alone_leaves_plans_to_others(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore, broker: redis.Redis
) -> None:
    """`-Q feedback` is an operator's word; a second worker for the other queue takes the plan up."""
    _fill(store, 10)
    stack.start_worker("feedback-only", ["-Q", "feedback"])
    plan = create(store.engine, EVERYTHING, actor="test")
    assert not workers_watch(broker)

    stack.start_worker("replays-only", ["-Q", "feedback-replays"])

    assert _ended(store, plan).progress.delivered == 10
    assert sandbox.received().delivered == 10


def test_the_command_line_follows_a_replay_to_its_end(
    stack: LocalStack, sandbox: SandboxClient, store: DeadLetterStore
) -> None:
    """It says what became of every row; delivered is what the operator waits for."""
    _fill(store, 30)
    stack.start_worker()

    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "worker.operations.cli",
            "dead-letters",
            "replay",
            "--yes",
            "--canary",
            "1",
            "--comment",
            "fixed",
        ],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (0, "replay 1: enqueued 30 of 30; 30 delivered\n"), ended.stderr
    assert sandbox.received().delivered == 30
