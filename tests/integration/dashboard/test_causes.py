"""Causes in Flower: the list, a cause's own page with its forms, and the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.dashboard import API, text_of
from tests.support.dead_letter_records import a_record, add, an_event
from tests.support.flower import served_flower
from worker.database.audit_log import actions
from worker.operations.cause_decisions import Verb, decide

if TYPE_CHECKING:
    from tests.support.flower import ServedFlower
    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

NOT_FOUND = "732a1c19a072"
PAGE = f"/feedback/causes/{NOT_FOUND}"


def add_two_causes(store: DeadLetterStore) -> None:
    """One that is three days old, of two rows, and a new one of one row."""
    now = datetime.now(UTC)
    for _ in range(2):
        add(store, a_record(failed_at=now - timedelta(days=3)))
    add(store, a_record(an_event(org="org-2"), response_body="Never seen before", failed_at=now))


def test_what_is_new_since_yesterday_comes_first(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Marked, and alone in a list of its own; the other is the more frequent one."""
    add_two_causes(browsed)
    page = text_of(flower.get("/feedback/dead-letters"))
    assert page.index("Never seen before new Triage") < page.index("Request ID not found Triage")
    assert "1 within 24 hours, 0 in the 24 before" in page
    assert "New since yesterday 1" in page

    alone = text_of(flower.get("/feedback/dead-letters?show=new"))
    assert "Never seen before" in alone
    assert "Request ID not found" not in alone

    found = flower.get("/api/feedback/causes?show=new").json()
    assert [(cause["is_new"], cause["rows"], cause["last_day"]) for cause in found["causes"]] == [(True, 1, 1)]
    assert (found["lists"]["unmuted"], found["total"]) == (2, 3)
    refused = flower.get("/api/feedback/causes?show=old")
    assert refused.status_code == 400
    assert "expected one of unmuted, new" in refused.json()["error"]


def test_a_cause_is_triaged_on_its_page(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Each form leads back to it, and what was done stands there and in the audit."""
    add_two_causes(browsed)
    visitor = flower.session()
    for verb, name, value in (
        ("acknowledge", "comment", "the backend's team knows"),
        ("assign", "owner", "ann@example.com"),
        ("runbook", "url", "https://wiki.example.com/404"),
        ("note", "comment", "began with release 7"),
        ("mute", "until", "4h"),
    ):
        answer = visitor.send(f"{PAGE}/{verb}", None, **{name: value})
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE)

    page = flower.get(PAGE)
    for words in (
        "acknowledged", "muted until", "Owner ann@example.com", "AquilaX does not know this request id",
        "docs/operations.md#dead-letters-pile-up", "acknowledged by unknown, without login", "began with release 7",
    ):  # fmt: skip
        assert words in text_of(page)
    assert 'href="https://wiki.example.com/404"' in page.text
    assert f'href="{PAGE}"' in flower.get("/feedback/audit").text
    assert len(actions(browsed.engine)) == 5
    listed = text_of(flower.get("/feedback/dead-letters"))
    assert "Muted 1" in listed
    assert "Request ID not found" not in listed
    assert "muted until" in text_of(flower.get("/feedback/dead-letters?show=muted"))


def test_a_cause_that_came_back_says_so(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """In the list, on its page, on that of its rows, and to programs."""
    add_two_causes(browsed)
    decide(browsed.engine, NOT_FOUND, Verb.RESOLVE, actor="ann", now=datetime.now(UTC) - timedelta(days=2))
    assert "resolved" in text_of(flower.get(PAGE))
    add(browsed, a_record(failed_at=datetime.now(UTC)))

    assert "came back" in text_of(flower.get("/feedback/dead-letters"))
    assert "came back" in text_of(flower.get(PAGE))
    assert f'href="{PAGE}"' in flower.get(f"/feedback/dead-letters/rows?fingerprint={NOT_FOUND}").text
    found = flower.get(f"/api{PAGE}").json()
    assert (found["came_back"], found["state"], found["rows"], found["dead"]) == (True, "open", 3, 3)


@pytest.mark.parametrize(
    ("path", "fields", "expected"),
    [
        (f"{PAGE}/mute", {"until": "yesterday"}, "until is"),
        (f"{PAGE}/runbook", {"url": "javascript:alert(1)"}, "url is not usable"),
        (f"{PAGE}/note", {"comment": " "}, "comment: expected"),
        (f"{PAGE}/resolve", {"until": "4h"}, "is no field here"),
    ],
)
def test_a_form_that_can_not_be_read_is_told(
    flower: ServedFlower, browsed: DeadLetterStore, path: str, fields: dict[str, str], expected: str
) -> None:
    """On the page itself, and to programs; nothing is changed."""
    add_two_causes(browsed)
    answer = flower.session().send(path, None, **fields)
    assert answer.status_code == 400
    assert expected in text_of(answer)
    told = flower.post(f"/api{path}", json=fields, headers=API)
    assert told.status_code == 400
    assert not actions(browsed.engine)


def test_the_api_triages_too(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With the state that is there then; an empty owner takes the owner away."""
    add_two_causes(browsed)

    def post(verb: str, **fields: object) -> dict[str, object]:
        answer = flower.post(f"/api{PAGE}/{verb}", json=fields, headers=API)
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        return found

    assert post("resolve", comment="fixed")["state"] == "resolved"
    assert post("reopen")["state"] == "open"
    assert post("assign", owner="ann")["owner"] == "ann"
    assert post("assign", owner="")["owner"] is None
    assert post("mute", until="1h")["muted_until"] is not None
    assert post("unmute")["muted_until"] is None
    assert flower.post(f"/api{PAGE}/assign", json={}, headers=API).status_code == 400
    assert flower.post("/api/feedback/causes/000000000000/resolve", json={}, headers=API).status_code == 404
    assert flower.get("/feedback/causes/000000000000").status_code == 404
    assert flower.post(f"/api{PAGE}/resolve", json={}).status_code == 403
    assert [done.action for done in actions(browsed.engine)][-1] == "cause.resolve"


def test_a_read_only_flower_triages_nothing(tables_url: str, browsed: DeadLetterStore, valkey: RedisServer) -> None:
    """It shows the cause, and has no form."""
    add_two_causes(browsed)
    with served_flower(broker_url=valkey.url, database_url=tables_url, read_only=True) as flower:
        assert 'method="post"' not in flower.get(PAGE).text
        assert flower.session().send(f"{PAGE}/resolve").status_code == 403
        assert flower.post(f"/api{PAGE}/resolve", json={}, headers=API).status_code == 403
    assert not actions(browsed.engine)
