"""Any Celery client in any language can enqueue feedback: a plain Celery app in Python, and three clients for Node."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from tests.support.commands import succeed
from tests.support.processes import eventually, need
from worker.database.models import DeadLetter
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from celery import Celery

    from tests.acceptance.conftest import System

NODE_CLIENT = Path(__file__).parent / "node_client"


def test_a_plain_celery_client_gets_delivered(system: System, celery_client: Celery) -> None:
    """``send_task`` with the documented keyword arguments, and without ``occurred_at``."""
    request_id = str(uuid.uuid4())

    celery_client.send_task(
        "feedback.deliver",
        kwargs={"request_id": request_id, "status": "false", "org": "org-1", "group": "group-1"},
        queue="feedback",
    )

    assert system.task(request_id, state="SUCCESS")["result"] == "'delivered'"
    assert system.sandbox.received_for(request_id).status == "false"


def test_a_plain_celery_clients_event_is_retried_and_dead_lettered_like_any_other(
    system: System, celery_client: Celery
) -> None:
    """Without our header its journey begins with its first receipt, and one event gives one dead letter."""
    request_id = str(uuid.uuid4())
    system.sandbox.script(request_id, [503, 404])

    celery_client.send_task(
        "feedback.deliver",
        kwargs={"request_id": request_id, "status": "true", "org": "org-1", "group": "group-1"},
        queue="feedback",
    )
    eventually(lambda: system.dead_letter(request_id), what="a dead letter")

    row = system.dead_letter(request_id)
    assert row is not None
    assert (row.reason, row.attempts) == (Reason.REJECTED, 2)


def test_a_message_that_is_no_event_is_kept_raw_and_the_worker_goes_on(system: System, celery_client: Celery) -> None:
    """Poison becomes a dead letter ``invalid`` that says what is wrong and keeps what stood there."""
    task_id = str(uuid.uuid4())

    celery_client.send_task(
        "feedback.deliver", kwargs={"request_id": "not-a-uuid", "status": "true"}, task_id=task_id, queue="feedback"
    )
    task = system.task(task_id, state="FAILURE")
    after = system.enqueue()

    assert task["exception"] == ("dead letter: invalid org is missing: expected request_id, status, org and group")
    assert system.task(after.request_id, state="SUCCESS")["result"] == "'delivered'"
    raw = system.raw_of_invalid()
    assert json.loads(raw[-1])["kwargs"] == {"request_id": "not-a-uuid", "status": "true"}


@pytest.fixture(scope="module")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Celery clients for Node, installed, and a program for each that enqueues one event."""
    folder, npm = tmp_path_factory.mktemp("node"), need("npm")
    for file in NODE_CLIENT.iterdir():
        if file.suffix in {".js", ".json"}:
            (folder / file.name).write_bytes(file.read_bytes())
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=100)
    return folder


@pytest.mark.parametrize("client", ["celery_node", "celery_ts", "node_celery"])
def test_presses_by_a_node_client_get_delivered(system: System, node_clients: Path, client: str) -> None:
    """Each that a person makes, and counted once, though celery-ts writes one delivery tag into all its messages.

    celery-node and celery-ts write protocol 2, node-celery protocol 1; none has a header of ours.
    """
    eventually(system.is_idle)
    request_id, before = str(uuid.uuid4()), _counts(system)
    program = [need("node"), f"{client}.js", system.stack.environment["FEEDBACK_BROKER_URL"], request_id]

    for number, status in enumerate(["true", "false", "true"], start=1):
        subprocess.run([*program, status, "org-1", "group-1"], cwd=node_clients, check=True, timeout=30)
        eventually(lambda: system.sandbox.received_for(request_id).received == number, what=f"press {number} arrives")  # noqa: B023 - asked at once

    assert system.sandbox.received_for(request_id).status == "true"
    eventually(system.is_idle)
    after = _counts(system)
    assert {name: after[name] - before[name] for name in after} == {"accepted": 3, "delivered": 3, "dead": 0}


@pytest.mark.parametrize("client", ["celery_node", "celery_ts", "node_celery"])
def test_what_a_node_client_sends_in_vain_dies_once(system: System, node_clients: Path, client: str) -> None:
    """One row for each press, and the books agree."""
    request_id = str(uuid.uuid4())
    system.sandbox.script(request_id, [404], repeat_last=True)
    program = [need("node"), f"{client}.js", system.stack.environment["FEEDBACK_BROKER_URL"], request_id]

    for number, status in enumerate(["true", "false"], start=1):
        subprocess.run([*program, status, "org-1", "group-1"], cwd=node_clients, check=True, timeout=30)
        eventually(lambda: system.sandbox.received_for(request_id).received == number, what=f"press {number} arrives")  # noqa: B023 - asked at once
    eventually(system.is_idle)

    with system.store.engine.connect() as connection:
        rows = connection.execute(select(DeadLetter.status).where(DeadLetter.request_id == request_id)).scalars().all()
    assert set(rows) == {False, True}
    assert len(rows) == 2
    succeed(system.stack.environment, "reconcile")  # which fails if anything is missing, or there once too often


def _counts(system: System) -> dict[str, int]:
    return {name: int(system.broker.hget("feedback:counts", name) or 0) for name in ("accepted", "delivered", "dead")}
