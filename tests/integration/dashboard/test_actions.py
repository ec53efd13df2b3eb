"""The dashboard replays and discards just what its preview showed, and steers replays."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from tests.support.dashboard import API, add_three, an_invalid_record, text_of
from tests.support.dead_letter_records import NOON, a_record, add, row_of, rows_of
from tests.support.processes import eventually
from worker.database.audit_log import actions
from worker.database.models import DeadLetter, State
from worker.database.replay_models import Replay, ReplayRow, ReplayState, RowState
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.lifecycle import cancel
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import plans
from worker.dead_letters.selection import Selection
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from tests.support.flower import ServedFlower
    from worker.dead_letters.store import DeadLetterStore


def test_a_preview_changes_nothing_and_says_how_long_it_takes(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """How many, by cause and org."""
    add_three(browsed)
    add(browsed, an_invalid_record(b"x"))
    page = text_of(flower.get("/feedback/dead-letters/replay?rate=1&canary=1"))
    assert "3 rows ; 1 more hold no event" in page
    assert "about 3.0 s" in page
    seen = flower.get("/api/feedback/preview/replay?rate=1").json()
    assert (seen["rows"], seen["invalid"], seen["duration_seconds"]) == (3, 1, 3.0)
    assert seen["by_org"] == [{"org": "org-1", "rows": 2}, {"org": "org-2", "rows": 1}]
    assert flower.get("/api/feedback/preview/discard?org=org-2").json()["rows"] == 1
    assert {row.state for row in rows_of(browsed)} == {State.DEAD}
    assert not actions(browsed.engine)


def test_a_replay_is_planned_as_it_was_seen(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The form leads to its progress, and the audit knows who, what and why."""
    add_three(browsed)
    sent = flower.session().send(
        "/feedback/dead-letters/replay", reason="rejected", rate="20", canary="1", comment="fixed", expected="2"
    )
    assert sent.status_code == 303
    (plan,) = plans(browsed.engine)
    assert sent.headers["Location"] == f"/feedback/replays/{plan.id}"
    assert (plan.total, plan.rate, plan.canary, plan.comment) == (2, 20.0, 1, "fixed")
    assert plan.actor == "without login, from 127.0.0.1"
    assert "fixed" in text_of(flower.get(f"/feedback/replays/{plan.id}"))
    assert "fixed" in text_of(flower.get("/feedback/replays"))
    audit = text_of(flower.get("/feedback/audit"))
    assert f"made replay {plan.id}" in audit
    assert "2 rows; 20 a second; a canary of 1; dead, rejected, died before" in audit
    assert "unknown, without login (127.0.0.1)" in audit
    assert "dead, rejected, died before" in text_of(flower.get(f"/feedback/replays/{plan.id}"))
    assert flower.get(f"/api/feedback/replays/{plan.id}").json()["total"] == 2
    (row_id, _, _) = (row.id for row in rows_of(browsed))
    assert f"replay {plan.id} : waiting" in text_of(flower.get(f"/feedback/dead-letters/{row_id}"))


def test_what_has_changed_since_the_preview_is_looked_at_again(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Another number of rows than the preview had is neither replayed nor discarded."""
    add_three(browsed)
    for action in ("replay", "discard"):
        sent = flower.session().send(f"/feedback/dead-letters/{action}", comment="fixed", expected="2")
        assert sent.status_code == 409
        assert "there were 2 rows in the preview, and there are 3 now" in text_of(sent)
        assert 'value="fixed"' in sent.text
    assert not plans(browsed.engine)
    assert {row.state for row in rows_of(browsed)} == {State.DEAD}


def test_what_dies_after_the_preview_is_not_taken(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The preview names its moment, and the form keeps it."""
    add_three(browsed)
    page = flower.get("/feedback/dead-letters/replay").text
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    add(browsed, a_record(failed_at=NOON.replace(year=NOON.year + 50)))
    sent = flower.session().send("/feedback/dead-letters/replay", until=until[1], comment="fixed", expected="3")
    assert sent.status_code == 303
    assert plans(browsed.engine)[0].total == 3


def test_a_change_needs_a_reason(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The audit log says why."""
    add_three(browsed)
    for path in ("/feedback/dead-letters/replay", "/feedback/dead-letters/discard", "/feedback/hold"):
        assert flower.session().send(path, comment="  ").status_code == 400
    assert not actions(browsed.engine)


def test_a_discard_is_carried_out_and_noted(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """In the background, with a page of its own; each row says why."""
    ids = add_three(browsed)
    sent = flower.session().send("/feedback/dead-letters/discard", id=ids[0], comment="left us", expected="1")
    assert sent.status_code == 303
    eventually(lambda: "1 of 1 discarded: done" in text_of(flower.get(sent.headers["Location"])), what="it is done")
    row = row_of(browsed, ids[0])
    assert (row.state, row.comment) == (State.DISCARDED, "left us")
    (action,) = actions(browsed.engine)
    assert (action.action, action.comment) == ("discard", "left us")
    assert flower.get("/feedback/discards/4711").status_code == 404


def test_a_replay_is_paused_resumed_and_cancelled(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """By its buttons; and what can't be done is said."""
    add_three(browsed)
    visitor = flower.session()
    visitor.send("/feedback/dead-letters/replay", comment="fixed", expected="3")
    number = plans(browsed.engine)[0].id
    for what, state in (("pause", "paused"), ("resume", "planned"), ("cancel", "cancelled")):
        assert visitor.send(f"/feedback/replays/{number}/{what}", comment="so").status_code == 303
        assert state in text_of(flower.get(f"/feedback/replays/{number}"))
    assert visitor.send(f"/feedback/replays/{number}/resume").status_code == 409
    assert visitor.send("/feedback/replays/4711/pause").status_code == 404
    assert [action.action for action in actions(browsed.engine)][:3] == [
        "replay.cancel",
        "replay.resume",
        "replay.pause",
    ]


@pytest.mark.usefixtures("browsed")
def test_only_what_can_be_done_is_offered(flower: ServedFlower) -> None:
    """Hold where nothing is held, with a reason; else resume. To resume when nothing is held leaves no trace."""
    assert 'name="comment" required' in flower.get("/feedback").text
    assert 'action="/feedback/resume"' not in flower.get("/feedback").text
    visitor = flower.session()
    assert visitor.send("/feedback/resume").headers["Location"] == "/feedback"
    assert flower.post("/api/feedback/resume", json={}, headers=API).json() == {"held": False, "recorded": False}
    assert flower.get("/api/feedback/audit").json()["actions"] == []
    visitor.send("/feedback/hold", comment="so")
    held = flower.get("/feedback")
    assert "Held by unknown, without login (127.0.0.1)" in text_of(held)
    assert 'action="/feedback/hold"' not in held.text
    assert 'action="/feedback/resume"' in held.text


def test_a_replay_says_what_its_rows_had_died_of_then(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Later deaths change the row, and not the history: by its words, or by its fingerprint if these are gone."""
    ids = add_three(browsed)
    flower.session().send("/feedback/dead-letters/replay", id=ids[2], comment="fixed", expected="1")
    (plan,) = plans(browsed.engine)
    path = f"/feedback/replays/{plan.id}"
    assert "forbidden 403: Not yours" in text_of(flower.get(path))
    forbidden = row_of(browsed, ids[2]).fingerprint
    changed = fingerprint_of(Reason.EXHAUSTED, 503, "SourceUnavailable")
    with browsed.engine.begin() as connection:
        values = {"fingerprint": changed.fingerprint, "summary": changed.summary}
        connection.execute(update(DeadLetter).where(DeadLetter.id == ids[2]).values(values))
    assert f"cause {forbidden}; last died of exhausted 503: SourceUnavailable" in text_of(flower.get(path))
    add(browsed, a_record(reason=Reason.FORBIDDEN, http_status=403, response_body="Not yours"))
    page = text_of(flower.get(path))
    assert "forbidden 403: Not yours" in page
    assert "exhausted 503" not in page


def test_a_stopped_replay_says_what_was_not_sent(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """What waits in an ended replay waits for nothing; the pill does not say that it finished."""
    ids = add_three(browsed)
    flower.session().send("/feedback/dead-letters/replay", comment="fixed", rate="1", expected="3")
    (plan,) = plans(browsed.engine)
    path = f"/feedback/replays/{plan.id}"
    assert "enqueued in about" in text_of(flower.get(path))
    flower.session().send(f"{path}/pause")
    assert "enqueued in about" not in text_of(flower.get(path))
    with browsed.engine.begin() as connection:
        died = (ReplayRow.replay_id == plan.id, ReplayRow.dead_letter_id == ids[0])
        connection.execute(update(ReplayRow).where(*died).values(state=RowState.DEAD))
        because = f"row {ids[0]}, a canary, died again, of the same cause: nope"
        stopped = {"state": ReplayState.STOPPED, "stopped_because": because}
        connection.execute(update(Replay).where(Replay.id == plan.id).values(stopped))
    page = text_of(flower.get(path))
    for words in (f"{because}; the other 2 were not sent", "2 not sent, still dead", "1 dead again", "no longer moves"):
        assert words in page
    assert "as of" not in page
    assert "Died again of: 1 of rejected 404: Request ID not found" in page
    assert "Replay the rest, 2 rows…" in page
    rest = f"/feedback/dead-letters/replay?rest_of={plan.id}"
    assert f'href="{rest}"' in flower.get(path).text
    assert "2 rows" in text_of(flower.get(rest))
    assert flower.get(f"/api{path}").json()["died_of"][0]["rows"] == 1
    made = flower.session().send(
        "/feedback/dead-letters/replay", rest_of=plan.id, comment="rest", rate="1", expected="2"
    )
    assert made.status_code == 303
    assert "Replay the rest" not in text_of(flower.get(path))
    assert f"dead, not sent by replay {plan.id}" in text_of(flower.get(made.headers["Location"]))
    flower.session().send(f"{made.headers['Location']}/cancel")
    assert f"replay {plan.id} : not sent" in text_of(flower.get(f"/feedback/dead-letters/{ids[1]}"))
    with browsed.engine.begin() as connection:
        connection.execute(update(DeadLetter).where(DeadLetter.id == ids[1]).values(state=State.DISCARDED))
    assert "2 not sent, 1 of them still dead" in text_of(flower.get(path))


def test_buttons_are_there_for_what_can_be_taken(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Delivered rows are not replayed; of rows of any state the dead are meant; and a preview says what is not dead."""
    ids = add_three(browsed)
    with browsed.engine.begin() as connection:
        for row_id, state in ((ids[0], State.DELIVERED), (ids[1], State.DISCARDED)):
            connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(state=state))
    rows = "/feedback/dead-letters/rows"
    delivered = flower.get(f"{rows}?state=delivered")
    assert "1 delivered row" in text_of(delivered)
    assert 'name="id"' not in delivered.text
    assert "Replay" not in text_of(delivered).replace("Replays", "")
    assert "delivered rows can't be replayed" in text_of(flower.get("/feedback/dead-letters/replay?state=delivered"))

    every = flower.get(f"{rows}?state=any")
    assert "3 rows of any state" in text_of(every)
    assert "Replay all 1 dead… Discard all 1 dead…" in text_of(every)
    assert 'href="/feedback/dead-letters/replay"' in every.text
    causes = flower.get("/feedback/dead-letters?state=any").text
    assert 'href="/feedback/dead-letters/replay?fingerprint=' in causes
    assert "replay?state=any" not in causes
    assert "<details open" in flower.get(f"{rows}?state=any").text.replace(' class="detail-card feedback-filters"', "")

    preview = text_of(flower.get("/feedback/dead-letters/replay?state=any"))
    assert "1 discarded: they would be sent after all" in preview
    assert "Not all of these rows are dead" not in text_of(flower.get("/feedback/dead-letters/replay"))
    states = flower.get("/api/feedback/preview/replay?state=any").json()["by_state"]
    assert states == [{"state": "dead", "rows": 1}, {"state": "discarded", "rows": 1}]
    assert flower.get("/api/feedback/preview/discard").json()["by_state"] == [{"state": "dead", "rows": 1}]


def test_no_replay_is_offered_of_what_another_replay_has(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Neither of a cause, nor of all rows, nor of one: its preview could only say that there is nothing to replay."""
    ids = add_three(browsed)
    pages = ("/feedback/dead-letters", "/feedback/dead-letters/rows", f"/feedback/dead-letters/{ids[0]}")
    assert all(
        'class="btn btn-primary" href="/feedback/dead-letters/replay' in flower.get(each).text for each in pages[1:]
    )
    assert flower.get(pages[0]).text.count('btn-primary" href="/feedback/dead-letters/replay') == 2
    flower.session().send("/feedback/dead-letters/replay", reason="rejected", comment="fixed", rate="1", expected="2")

    assert flower.get(pages[0]).text.count('btn-primary" href="/feedback/dead-letters/replay') == 1
    assert "Replay all 1…" in text_of(flower.get(pages[1]))
    assert "Discard all 3…" in text_of(flower.get(pages[1]))
    assert 'href="/feedback/dead-letters/replay' not in flower.get(pages[2]).text
    assert "Discard…" in text_of(flower.get(pages[2]))


def test_a_replay_is_scheduled(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """From the preview and by programs; its page and the list say when it begins."""
    add_three(browsed)
    visitor = flower.session()
    refused = visitor.send("/feedback/dead-letters/replay", org="org-1", comment="so", rate="1", begins_at="2020-01-01")
    assert refused.status_code == 400
    assert "expected a time to come, within 366 days" in text_of(refused)
    planned = visitor.send("/feedback/dead-letters/replay", org="org-1", comment="so", rate="1", begins_at="2h")
    assert planned.status_code == 303
    assert "begins at 20" in text_of(flower.get(planned.headers["Location"]))
    assert "planned begins 20" in text_of(flower.get("/feedback/replays"))
    assert "to begin at 20" in text_of(flower.get("/feedback/audit"))

    made = flower.post(
        "/api/feedback/replays", json={"org": "org-2", "comment": "so", "begins_at": "2099-01-01"}, headers=API
    )
    assert made.status_code == 400
    made = flower.post("/api/feedback/replays", json={"org": "org-2", "comment": "so", "begins_at": "1d"}, headers=API)
    assert made.json()["begins_at"] > made.json()["created_at"]
    assert [plan.is_scheduled for plan in plans(browsed.engine)] == [True, True]


def test_an_edit_is_seen_before_it_is_done(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The form is shown again with what would change; confirmed, its page, the audit and the rest have it."""
    add_three(browsed)
    visitor = flower.session()
    form: dict[str, Any] = {"comment": "moved", "rate": "1", "expected": "3"}
    for name in ("set_org", "set_group"):
        wrong: dict[str, Any] = {name: "x" * 129}
        refused = visitor.send("/feedback/dead-letters/replay", **form, **wrong)
        assert (refused.status_code, f"{name} is" in text_of(refused)) == (400, True)

    edit: dict[str, Any] = {"set_org": "org-2", "set_group": "g 2"}
    shown = visitor.send("/feedback/dead-letters/replay", **form, **edit)
    assert shown.status_code == 409
    assert "the org becomes org-2 in 2 of 3 rows the group becomes g 2 in 3 of 3 rows" in text_of(shown)
    assert not plans(browsed.engine)
    other = visitor.send("/feedback/dead-letters/replay", **form, seen_org="org-2", set_org="org-3")
    assert (other.status_code, "the org becomes org-3 in 3 of 3 rows" in text_of(other)) == (409, True)
    left_out = visitor.send("/feedback/dead-letters/replay", **form, seen_org="org-2")
    assert (left_out.status_code, plans(browsed.engine)) == (409, [])

    sent = visitor.send("/feedback/dead-letters/replay", **form, **edit, seen_org="org-2", seen_group="g 2")
    assert sent.status_code == 303
    (plan,) = plans(browsed.engine)
    assert (plan.set_org, plan.set_group) == ("org-2", "g 2")
    assert "org set to org-2, group set to g 2" in text_of(flower.get(sent.headers["Location"]))
    assert "org set to org-2; group set to g 2" in text_of(flower.get("/feedback/audit"))

    cancel(browsed.engine, plan.id, actor="ann")
    rest = f"/feedback/dead-letters/replay?rest_of={plan.id}&amp;set_org=org-2&amp;set_group=g+2"
    assert f'href="{rest}"' in flower.get(sent.headers["Location"]).text
    assert "the org becomes org-2 in 2 of 3 rows" in text_of(flower.get(rest.replace("&amp;", "&")))


def test_programs_edit_what_they_replay(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """A value that no event can have is refused by its field, also an empty one; a row says what it died with."""
    ids = add_three(browsed)
    seen = flower.get("/api/feedback/preview/replay?set_org=org-2").json()
    assert seen["edited"] == [{"field": "org", "value": "org-2", "rows": 2}]
    assert flower.get("/api/feedback/preview/replay?set_org=").status_code == 400
    for wrong in ({"set_org": ""}, {"set_org": 7}, {"set_group": "\n"}):
        refused = flower.post("/api/feedback/replays", json={"comment": "moved", **wrong}, headers=API)
        assert (refused.status_code, f"{next(iter(wrong))} is" in refused.json()["error"]) == (400, True)
    assert not plans(browsed.engine)
    sent = {"comment": "moved", "set_org": "org-2"}
    made = flower.post("/api/feedback/replays", json=sent, headers=API).json()
    assert (made["set_org"], made["set_group"]) == ("org-2", None)

    with browsed.engine.begin() as connection:  # as its replay does when it sends them
        Edit(org="org-2").write(connection, ids)
    row = flower.get(f"/api/feedback/dead-letters/{ids[0]}").json()
    assert (row["org"], row["original_org"]) == ("org-2", "org-1")
    assert "org-2 , set by a replay; it died with org-1" in text_of(flower.get(f"/feedback/dead-letters/{ids[0]}"))
    exported = flower.get("/api/feedback/dead-letters/export.ndjson").text.splitlines()
    assert [json.loads(line)["original_org"] for line in exported] == ["org-1", "org-1", None]


def test_the_rest_of_a_cancelled_replay_is_offered(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """On its page, and to programs, which take it by its number."""
    add_three(browsed)
    plan = create(browsed.engine, Selection(orgs=("org-1",)), actor="ann", rate=1)
    cancel(browsed.engine, plan.id, actor="ann")
    page = flower.get(f"/feedback/replays/{plan.id}")
    assert "Replay the rest, 2 rows" in text_of(page)
    assert f'href="/feedback/dead-letters/replay?rest_of={plan.id}"' in page.text
    assert flower.get(f"/api/feedback/replays/{plan.id}").json()["rest"] == 2
    made = flower.post("/api/feedback/replays", json={"rest_of": plan.id, "comment": "now"}, headers=API)
    assert (made.status_code, made.json()["total"]) == (201, 2)
    assert flower.get(f"/api/feedback/replays/{plan.id}").json()["rest"] == 0
