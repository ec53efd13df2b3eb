"""The JSON API of the dashboard, which does what the pages do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.dashboard import API, add_three
from tests.support.processes import eventually
from worker.dead_letters.replays.queries import plans

if TYPE_CHECKING:
    from tests.support.flower import ServedFlower
    from worker.dead_letters.store import DeadLetterStore


def test_the_api_does_what_the_pages_do(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With JSON, a header of one's own, and no cookie."""
    add_three(browsed)
    made = flower.post(
        "/api/feedback/replays", json={"reason": ["rejected"], "rate": 5, "canary": 0, "comment": "fixed"}, headers=API
    )
    assert made.status_code == 201
    number = made.json()["id"]
    steered = flower.post(f"/api/feedback/replays/{number}/cancel", json={"comment": "no"}, headers=API)
    assert steered.json()["state"] == "cancelled"
    begun = flower.post(
        "/api/feedback/discards", json={"org": "org-2", "comment": "left us", "expected": 1}, headers=API
    )
    assert begun.status_code == 202
    path = f"/api/feedback/discards/{begun.json()['id']}"
    assert eventually(lambda: flower.get(path).json()["ended"], what="it is done")
    assert flower.post("/api/feedback/hold", json={"comment": "so"}, headers=API).json() == {
        "held": True,
        "recorded": True,
    }
    assert flower.post("/api/feedback/resume", json={}, headers=API).json()["held"] is False
    assert [done["action"] for done in flower.get("/api/feedback/audit").json()["actions"]] == [
        "resume",
        "hold",
        "discard",
        "replay.cancel",
        "replay.create",
    ]
    assert flower.get("/api/feedback/replays").json()["replays"][0]["id"] == number


@pytest.mark.parametrize(
    "document", [b"[]", b"{", b'{"orgs": "x", "comment": "y"}', b'{"rate": "fast", "comment": "y"}']
)
def test_the_api_refuses_what_it_does_not_understand(
    flower: ServedFlower, browsed: DeadLetterStore, document: bytes
) -> None:
    """A misspelt filter would choose everything."""
    add_three(browsed)
    headers = API | {"Content-Type": "application/json"}
    assert flower.post("/api/feedback/replays", data=document, headers=headers).status_code == 400
    assert not plans(browsed.engine)
