"""The page of what waits for its time, and its API: what is seen, and what is done from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dashboard import API, text_of
from tests.support.dead_letter_records import rows_of
from tests.support.flower import ServedFlower, served_flower
from tests.support.places import Places, places_of
from tests.support.processes import eventually
from tests.support.waiting import ENVELOPE, REFUSAL, a_retry, wait
from worker.broker.set_aside import moment_of
from worker.database.audit_log import actions
from worker.delivery.org_holds import org_scope
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared")


@pytest.fixture
def places(valkey: RedisServer) -> Iterator[Places]:
    """The places of an empty queue."""
    with places_of(valkey) as places:
        yield places


@pytest.fixture
def flower(sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:  # noqa: ARG001 - so that the table is there
    """Flower on loopback, without a login."""
    with served_flower(broker_url=valkey.url, database_url=sqlite_url) as flower:
        yield flower


def ended(flower: ServedFlower, number: int) -> dict[str, Any]:
    """What became of an action, once it is over."""

    def state() -> dict[str, Any] | None:
        record: dict[str, Any] = flower.get(f"/api/feedback/waiting/actions/{number}").json()
        return record if record["ended"] else None

    found = eventually(state, what="the end of the action")
    assert found is not None
    return found


def test_what_waits_is_shown_by_cause_and_row_by_row(flower: ServedFlower, places: Places) -> None:
    """Filters narrow it; one that can't be read is named beside its field, with status 400."""
    wait(
        places, *(a_retry(ENVELOPE.tried(REFUSAL), org="a") for _ in range(60)), a_retry(org="b", waits=WaitReason.BUSY)
    )

    page, narrow = flower.get("/feedback/waiting"), flower.get("/feedback/waiting?org=b&cause=&request_id=")
    wrong = flower.get("/feedback/waiting?cause=weather")
    first = flower.get("/api/feedback/waiting?limit=60").json()
    rest = flower.get(f"/api/feedback/waiting?after={first['after']}").json()

    assert "61 messages wait for their next attempt" in text_of(page)
    assert "Response 503: Downstream service &lt;n&gt; unavailable 60 messages, a 60" in text_of(page)
    assert page.text.count('name="id"') == 50
    assert ("Another press on the same answer" in narrow.text, narrow.text.count('name="id"')) == (True, 1)
    assert (wrong.status_code, "expected one of retry, redis" in wrong.text) == (400, True)
    assert ([one["org"] for one in rest["messages"]], rest["after"], first["total"]) == (["b"], None, 61)
    assert [cause["messages"] for cause in first["causes"]] == [60, 1]


def test_what_is_set_aside_is_due_when_its_hold_ends(flower: ServedFlower, places: Places) -> None:
    """Not at the moment, thousands of years away, under which it stands; also beside one that is due."""
    wait(places, a_retry(org="acme", waits=WaitReason.HOLD), due=moment_of(org_scope("acme")))
    alone = flower.get("/feedback/waiting")
    wait(places, a_retry(org="b", waits=WaitReason.HOLD))

    page, found = flower.get("/feedback/waiting"), flower.get("/api/feedback/waiting").json()

    assert "1 message, acme 1; due when their hold ends" in text_of(alone)
    assert ("; next due" in text_of(page), page.text.count("when its hold ends")) == (True, 1)
    assert [(one["org"], one["due"] is None) for one in found["messages"]] == [("b", False), ("acme", True)]
    assert found["causes"][0]["next_due"] == found["messages"][0]["due"]


def test_selected_messages_are_sent_now_and_it_stands_in_the_audit(
    flower: ServedFlower, places: Places, sqlite_store: DeadLetterStore
) -> None:
    """The preview changes nothing, the confirmation leads to its progress; what is gone is on its way."""
    wait(places, a_retry(), a_retry(), a_retry())
    first, second, _ = (one["id"] for one in flower.get("/api/feedback/waiting").json()["messages"])
    places.client.zremrangebyrank("feedback:delayed", 1, 1)

    preview = flower.get(f"/feedback/waiting/send-now?ticked=1&id={first}&id={second}")
    sent = flower.session().send("/feedback/waiting/send-now", id=[first, second], comment="is it well?")
    record = ended(flower, int(sent.headers["Location"].rpartition("/")[2]))

    assert "2 messages of those that wait. Nothing has been changed yet." in text_of(preview)
    assert (record["messages"], record["on_their_way"], places.client.llen("feedback")) == (1, 1, 1)
    assert "1 sent to the head of the queue; 1 was already on its way: done" in text_of(
        flower.get(sent.headers["Location"])
    )
    assert "sent now waiting" in text_of(flower.get("/feedback/audit"))
    (action,) = actions(sqlite_store.engine)
    assert (action.actor, action.comment) == ("without login, from 127.0.0.1", "is it well?")


def test_all_of_a_cause_become_dead_letters(
    flower: ServedFlower, places: Places, sqlite_store: DeadLetterStore
) -> None:
    """With the operator's reason on each row; what is no event stays, and is named."""
    wait(places, a_retry(org="a"), a_retry(org="b"), b"rubbish")

    begun = flower.post("/api/feedback/waiting/dead-letter", json={"all": True, "comment": "given up"}, headers=API)
    record = ended(flower, begun.json()["id"])

    assert (begun.status_code, record["messages"], record["not_taken"]) == (202, 2, 1)
    assert [row.comment for row in rows_of(sqlite_store)] == ["given up", "given up"]
    assert "1 was not taken" in text_of(flower.get(f"/feedback/waiting/actions/{record['id']}"))
    assert places.client.zcard("feedback:delayed") == 1


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"comment": "x"}, '"all": true'),
        ({"comment": "x", "all": True, "org": "a"}, '"all": true'),
        ({"comment": "x", "all": "yes"}, '"all": true'),
        ({"comment": "x", "org": []}, "org is []"),
        ({"comment": "x", "id": ["17"]}, "an id as the list of waiting messages has it"),
        ({"comment": "", "all": True}, "comment"),
        ({"comment": "x", "orgs": "a"}, "is no field"),
    ],
)
def test_what_can_not_be_meant_is_refused(flower: ServedFlower, places: Places, document: Any, said: str) -> None:
    """Before anything is done: a misspelt filter must not choose all."""
    wait(places, a_retry())

    answer = flower.post("/api/feedback/waiting/send-now", json=document, headers=API)

    assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text
    assert places.client.llen("feedback") == 0


def test_nothing_ticked_is_not_all(flower: ServedFlower, places: Places) -> None:
    """Nor is a form without a reason taken; nor any form without its token, or where nothing may be changed."""
    wait(places, a_retry())
    visitor = flower.session()

    assert flower.get("/feedback/waiting/send-now?ticked=1").status_code == 400
    assert visitor.send("/feedback/waiting/send-now", all="1").status_code == 400
    assert flower.post("/feedback/waiting/send-now", data={"all": "1", "comment": "x"}).status_code == 403
    flower.app.options.read_only = True
    assert visitor.send("/feedback/waiting/send-now", all="1", comment="x").status_code == 403
    assert "Send all" not in flower.get("/feedback/waiting").text
    assert places.client.llen("feedback") == 0
