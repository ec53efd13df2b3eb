"""A revocation hits what waited when it was made, and nothing later; and Flower shows each press by itself."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support.commands import succeed
from tests.support.processes import eventually
from worker.runtime.remote_control import CONTROL_EXCHANGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Celery

    from tests.acceptance.conftest import System


@pytest.fixture
def client(celery_client: Celery) -> Celery:
    """A Celery app that uses the request_id as task id, and speaks to our workers."""
    celery_client.conf.control_exchange = CONTROL_EXCHANGE
    return celery_client


def _by_control(_: System, client: Celery, task_id: str) -> None:
    """As `celery -A worker control revoke` does."""
    assert client.control.revoke(task_id, reply=True, timeout=30, limit=1)


def _by_flower(system: System, _: Celery, task_id: str) -> None:
    """As Flower's button does."""
    origin = {"Origin": system.flower, "Sec-Fetch-Site": "same-origin"}
    answer = requests.post(f"{system.flower}/api/task/revoke/{task_id}", headers=origin, timeout=30)
    assert answer.ok, answer.text


def _press(client: Celery, request_id: str, *, status: str) -> None:
    kwargs = {"request_id": request_id, "status": status, "org": "org-1", "group": "group-1"}
    client.send_task("feedback.deliver", kwargs=kwargs, task_id=request_id, queue="feedback")


def _revoked(system: System) -> int:
    return int(system.broker.hget("feedback:counts", "revoked") or 0)


@pytest.mark.parametrize("revoke", [_by_control, _by_flower])
def test_a_later_press_on_a_revoked_answer_is_delivered(
    system: System, client: Celery, revoke: Callable[[System, Celery, str], None]
) -> None:
    """Also if the client gives both presses one task id. The first has ended as revoked, before anything is resumed."""
    request_id, before = str(uuid.uuid4()), _revoked(system)
    succeed(system.stack.environment, "hold", "--comment", "a test")
    _press(client, request_id, status="true")

    revoke(system, client, request_id)
    eventually(lambda: _revoked(system) == before + 1, what="the press that waited is revoked")
    _press(client, request_id, status="false")
    succeed(system.stack.environment, "resume")

    eventually(lambda: system.sandbox.received_for(request_id).status == "false", what="the later press is delivered")
    assert system.sandbox.received_for(request_id).received == 1
    eventually(system.is_idle)
    assert _revoked(system) == before + 1


def test_a_press_of_our_producers_is_revoked_by_its_own_id(system: System, client: Celery) -> None:
    """The other press on the same answer, which waits as well, is delivered."""
    before = _revoked(system)
    succeed(system.stack.environment, "hold", "--comment", "a test")
    event = system.enqueue(status=True)
    system.enqueue(event.request_id, status=False)
    first = json.loads(system.broker.lindex("feedback", -1) or b"")["headers"]["id"]

    _by_control(system, client, first)
    succeed(system.stack.environment, "resume")

    eventually(lambda: system.sandbox.received_for(event.request_id).received == 1, what="the other one is delivered")
    assert system.sandbox.received_for(event.request_id).status == "false"
    assert _revoked(system) == before + 1
    assert system.task(first, state="REVOKED")["uuid"] == first


def test_flower_shows_a_dead_letter_as_failed_though_the_answer_was_delivered_before(system: System) -> None:
    """Its search finds both presses by the request_id: each is a task of its own."""
    event = system.enqueue(status=True)
    delivered = system.task(event.request_id, state="SUCCESS")
    system.sandbox.script(event.request_id, [404])

    system.enqueue(event.request_id, status=False)

    dead = system.task(f"kwargs:request_id={event.request_id}", state="FAILURE")
    assert dead["exception"].startswith("dead letter: rejected 404")
    assert dead["uuid"] != delivered["uuid"]
    assert system.task(delivered["uuid"], state="SUCCESS")["result"] == "'delivered'"
