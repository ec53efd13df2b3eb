"""Any Celery client in any language can enqueue feedback: a plain Celery app in Python, and celery-node."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from celery import Celery

from tests.processes import eventually, need
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import System

NODE_CLIENT = Path(__file__).parent / "node_client"


@pytest.fixture(scope="module")
def celery_client(running_system: System) -> Iterator[Celery]:
    """A Celery app that knows the broker's address, and nothing else of us."""
    with Celery(broker=running_system.stack.environment["FEEDBACK_BROKER_URL"], set_as_current=False) as app:
        yield app
        app.pool.force_close_all()


def test_a_plain_celery_client_gets_delivered(system: System, celery_client: Celery) -> None:
    """``send_task`` with the documented keyword arguments, and without ``occurred_at``."""
    request_id = str(uuid.uuid4())

    celery_client.send_task(
        "feedback.deliver",
        kwargs={"request_id": request_id, "status": "false", "org": "org-1", "group": "group-1"},
        task_id=request_id,
        queue="feedback",
    )

    assert system.task(request_id, state="SUCCESS")["result"] == "'delivered'"
    assert system.sandbox.received_for(request_id).status == "false"


def test_a_plain_celery_clients_event_is_retried_and_buried_like_any_other(
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


def test_a_node_client_gets_delivered(system: System, tmp_path: Path) -> None:
    """celery-node writes its own messages: protocol 2, with a plain JSON body and no header of ours."""
    node, npm = need("node"), need("npm")
    for name in ("package.json", "package-lock.json", "enqueue.js"):
        (tmp_path / name).write_bytes((NODE_CLIENT / name).read_bytes())
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=tmp_path, check=True, timeout=100)
    request_id = str(uuid.uuid4())

    subprocess.run(
        [node, "enqueue.js", system.stack.environment["FEEDBACK_BROKER_URL"], request_id, "true", "org-1", "group-1"],
        cwd=tmp_path,
        check=True,
        timeout=30,
    )

    eventually(lambda: system.sandbox.received_for(request_id).status == "true", what="Node's event is delivered")
