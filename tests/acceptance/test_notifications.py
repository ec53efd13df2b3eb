"""Real workers tell a real receiver what needs attention."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import succeed
from tests.support.processes import eventually
from tests.support.receivers import http_receiver

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack


@pytest.mark.usefixtures("sandbox")
def test_two_workers_tell_of_a_hold_once(stack: LocalStack) -> None:
    """With a link to Flower, and nothing of the address in their logs."""
    with http_receiver() as receiver:
        stack.environment |= {
            "FEEDBACK_NOTIFY_URLS": f"webhook+http://{receiver.address}/T0K3N-0f-the-receiver",
            "FEEDBACK_NOTIFY_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "FEEDBACK_NOTIFY_WINDOW": "0.001",
            "FEEDBACK_FLOWER_URL": "http://flower.example.com",
        }
        succeed(stack.environment, "hold", "--comment", "AquilaX migrates", "--actor", "ada")
        workers = [stack.start_worker("one"), stack.start_worker("two")]
        eventually(lambda: receiver.received, what="the hold is told")

    (request,) = receiver.received
    (event,) = json.loads(request.body)["data"]["events"]
    assert event["text"] == "nothing is sent to AquilaX: an operator holds (ada): AquilaX migrates"
    assert (event["kind"], event["url"]) == ("hold_begun", "http://flower.example.com/feedback/audit")
    assert not [worker for worker in workers if "T0K3N" in worker.said()]
