"""The dashboard inside Flower, on real databases and a real Valkey: what it shows and does, also without one."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from sqlalchemy import update

from tests.support.burials import NOON, REQUEST_ID, a_burial, add, an_event, row_of, rows_of
from tests.support.flower import ServedFlower, served_flower
from tests.support.places import places_of
from tests.support.processes import eventually
from worker.accounting.continuity import record
from worker.clients.redis.connections import redis_client
from worker.database.audit_log import actions
from worker.database.models import DeadLetter, State
from worker.database.redis_generations import forget_generations
from worker.database.replay_models import Replay, ReplayRow, ReplayState, RowState
from worker.database.schema import upgrade
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import plans
from worker.dead_letters.replays.queue import say_watching
from worker.dead_letters.selection import Selection
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Hold
from worker.policy.classification import Classification
from worker.policy.dead_letter import DeadLetterRecord
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

    from tests.support.processes import RedisServer

HOSTILE = "<script>document.title='stolen'</script><img src=x onerror=alert(1)>\" ' ><b>"
API = {"X-Requested-With": "a test"}


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def browsed_url(request: pytest.FixtureRequest) -> str:
    """SQLite, then PostgreSQL, then MariaDB; up to date."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    upgrade(url)
    return url


@pytest.fixture
def browsed(browsed_url: str) -> Iterator[DeadLetterStore]:
    """The dead letters that the dashboard shows."""
    with closing(DeadLetterStore.connect(browsed_url)) as store:
        yield store


@pytest.fixture
def flower(browsed_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback, without a login."""
    with served_flower(broker_url=valkey.url, database_url=browsed_url) as flower:
        yield flower


@contextmanager
def a_flower(valkey: RedisServer, url: str, **options: Any) -> Iterator[ServedFlower]:
    """Serve Flower with these options."""
    with served_flower(broker_url=valkey.url, database_url=url, **options) as flower:
        yield flower


def text_of(answer: requests.Response) -> str:
    """What a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def bury_three(store: DeadLetterStore) -> list[int]:
    """Two of one cause and one of another."""
    forbidden = a_burial(an_event(org="org-2"), reason=Reason.FORBIDDEN, http_status=403, response_body="Not yours")
    return [add(store, each) for each in (a_burial(), a_burial(failed_at=NOON + timedelta(minutes=5)), forbidden)]


def test_causes_are_counted_over_time_with_their_org(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """One line for each cause, the most frequent first; the org is named if it is one."""
    bury_three(browsed)
    page = text_of(flower.get("/feedback/dead-letters"))
    assert "3 events, 2 causes" in page
    assert page.index("rejected 404: Request ID not found") < page.index("forbidden 403: Not yours")
    assert "2 events, org org-1" in page
    assert "Died per minute, 2 at most" in page
    assert "<title>2 from 01 Mar 11:59 UTC</title>" in flower.get("/feedback/dead-letters").text

    found = flower.get("/api/feedback/causes").json()
    assert [(cause["rows"], cause["org"], sum(cause["counts"])) for cause in found["causes"]] == [
        (2, "org-1", 2),
        (1, "org-2", 1),
    ]
    assert found["causes"][0]["counts"][-1] == 1


def test_every_filter_narrows(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The same names as on the command line."""
    wanted, _, _ = bury_three(browsed)
    row = row_of(browsed, wanted)
    for query, rows in {
        "": 3,
        "reason=forbidden": 1,
        "http_status=404": 2,
        "org=org-2": 1,
        "group=group-1": 3,
        f"request_id={row.request_id}": 1,
        f"fingerprint={row.fingerprint}": 2,
        "since=2026-03-01T12:01": 1,
        "until=2026-03-01T12:01": 2,
        "state=delivered": 0,
        "state=any": 3,
        f"id={wanted}": 1,
        "org=org-1&org=org-2": 3,
    }.items():
        assert flower.get(f"/api/feedback/dead-letters?{query}").json()["total"] == rows, query
        assert flower.get(f"/feedback/dead-letters/rows?{query}").status_code == 200
        assert flower.get(f"/feedback/dead-letters?{query}").status_code == 200


@pytest.mark.parametrize(
    "query",
    ["reason=bad", "http_status=ten", "request_id=x", "since=tomorrow", "state=gone", "id=-1", "order=x", "place=x",
     "place=after_1_2026", "place=after_1_99999999999999999999", "org=" + "x" * 300],
)  # fmt: skip
def test_a_wrong_filter_is_told(flower: ServedFlower, query: str) -> None:
    """In words, with what is expected; never a page of something else."""
    answer = flower.get(f"/feedback/dead-letters/rows?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in text_of(answer)
    assert "error" in flower.get(f"/api/feedback/dead-letters?{query}").json()


def test_one_row_says_all_that_is_known(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The event, the answer, the attempts."""
    row_id = add(browsed, a_burial(an_event(request_id=REQUEST_ID), attempts=7))
    page = text_of(flower.get(f"/feedback/dead-letters/{row_id}"))
    for words in ("rejected, HTTP 404", "Request ID not found", REQUEST_ID, "org-1", "group-1", "Attempts 7"):
        assert words in page
    assert flower.get(f"/api/feedback/dead-letters/{row_id}").json()["request_id"] == REQUEST_ID
    assert flower.get("/feedback/dead-letters/4711").status_code == 404
    assert flower.get("/feedback/dead-letters/999999999999999999").status_code == 404


def test_nothing_hostile_reaches_the_page_unescaped(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """An answer, an org, a note and a raw message may hold anything."""
    row_id = add(browsed, a_burial(an_event(org=HOSTILE, group=HOSTILE), response_body=HOSTILE))
    raw = add(browsed, _invalid(HOSTILE.encode()))
    for path in (
        "/feedback/dead-letters",
        "/feedback/dead-letters/rows",
        f"/feedback/dead-letters/{row_id}",
        f"/feedback/dead-letters/{raw}",
        f"/feedback/dead-letters/replay?id={row_id}",
        f"/feedback/dead-letters/discard?id={row_id}",
        "/feedback/dead-letters/rows?org=%3Cscript%3Ealert(1)%3C/script%3E",
        "/feedback/dead-letters/rows?state=%3Cscript%3Ealert(1)%3C/script%3E",
    ):
        page = flower.get(path).text
        assert "<script>" not in page
        assert "<img src=x" not in page
        assert "<b>" not in page


def test_raw_bytes_are_dumped_and_never_run(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """A message that is no text is shown as hexadecimal; as a file it is nothing that a browser opens."""
    raw = b"\x80\x00<script>"
    row_id = add(browsed, _invalid(raw))
    assert "80 00 3c 73 63 72 69 70 74 3e" in flower.get(f"/feedback/dead-letters/{row_id}").text
    file = flower.get(f"/feedback/dead-letters/{row_id}/raw")
    assert file.content == raw
    assert file.headers["Content-Type"] == "application/octet-stream"
    assert file.headers["Content-Disposition"].startswith("attachment")
    assert flower.get(f"/feedback/dead-letters/{add(browsed, a_burial())}/raw").status_code == 404


def _invalid(raw: bytes) -> DeadLetterRecord:
    return DeadLetterRecord(
        reason=Reason.INVALID,
        failed_at=NOON,
        first_enqueued_at=NOON,
        attempts=0,
        event=None,
        dedup_key="0" * 64,
        response_body="no event",
        raw=raw,
    )


def test_a_preview_changes_nothing_and_says_how_long_it_takes(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """How many, by cause and org."""
    bury_three(browsed)
    add(browsed, _invalid(b"x"))
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
    bury_three(browsed)
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
    """Nobody replays, or discards, another number of rows than they have seen."""
    bury_three(browsed)
    for action in ("replay", "discard"):
        sent = flower.session().send(f"/feedback/dead-letters/{action}", comment="fixed", expected="2")
        assert sent.status_code == 409
        assert "there were 2 rows in the preview, and there are 3 now" in text_of(sent)
        assert 'value="fixed"' in sent.text
    assert not plans(browsed.engine)
    assert {row.state for row in rows_of(browsed)} == {State.DEAD}


def test_what_dies_after_the_preview_is_not_taken(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The preview names its moment, and the form keeps it."""
    bury_three(browsed)
    page = flower.get("/feedback/dead-letters/replay").text
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    add(browsed, a_burial(failed_at=NOON.replace(year=NOON.year + 50)))
    sent = flower.session().send("/feedback/dead-letters/replay", until=until[1], comment="fixed", expected="3")
    assert sent.status_code == 303
    assert plans(browsed.engine)[0].total == 3


def test_a_change_needs_a_reason(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Whoever looks later wants to know why."""
    bury_three(browsed)
    for path in ("/feedback/dead-letters/replay", "/feedback/dead-letters/discard", "/feedback/hold"):
        assert flower.session().send(path, comment="  ").status_code == 400
    assert not actions(browsed.engine)


def test_a_discard_is_carried_out_and_noted(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """In the background, with a page of its own; each row says why."""
    ids = bury_three(browsed)
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
    bury_three(browsed)
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


def test_an_operator_holds_and_resumes(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """The overview says why, and the audit who."""
    visitor = flower.session()
    assert visitor.send("/feedback/hold", comment="AquilaX migrates").status_code == 303
    assert "Nothing is being delivered: AquilaX migrates" in text_of(flower.get("/feedback"))
    assert flower.get("/api/feedback/overview").json()["hold"]["comment"] == "AquilaX migrates"
    assert visitor.send("/feedback/resume").status_code == 303
    assert flower.get("/api/feedback/overview").json()["hold"] is None
    assert "was held for" in text_of(flower.get("/feedback/audit"))
    assert [action.action for action in actions(browsed.engine)] == ["resume", "hold"]


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


def test_workers_that_are_dead_are_no_workers(
    sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer
) -> None:
    """Their leases have ended: a red banner says what waits and what to do, and goes when one is alive again."""
    add(sqlite_store, a_burial())
    with a_flower(valkey, sqlite_url) as flower, places_of(valkey) as places:
        quiet = text_of(flower.get("/feedback"))
        places.enqueue(5)
        places.hold("host:7:a.1:w1@host", "tag-1", until=1)
        page, record = flower.get("/feedback"), flower.get("/api/feedback/overview").json()
        places.hold("host:8:b.1:w2@host")
        alive = text_of(flower.get("/feedback"))

        assert "No worker is alive" not in quiet
        assert re.search(r'<p class="alert alert-danger" role="alert"><strong>No worker is alive', page.text)
        words = text_of(page)
        assert "No worker is alive; 5 queued, and nothing is delivered; 1 dead" in words
        assert "Start one (`celery -A worker worker`): it returns the 1 that the dead ones hold" in words
        assert "no workers; 1 dead, which holds 1" in words
        assert (record["workers"]["alive"], record["workers"]["dead"]) == (0, 1)
        assert "1 worker; 1 dead, which holds 1" in alive
        assert "No worker is alive" not in alive


def test_a_replay_that_no_worker_brings_forward_is_told(
    sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer
) -> None:
    """On its own page and on the Overview: a worker with `-Q feedback` alone takes no step of it."""
    add(sqlite_store, a_burial())
    plan = create(sqlite_store.engine, Selection(), actor="a test")
    with a_flower(valkey, sqlite_url) as flower, valkey.client() as client:
        told = [text_of(flower.get(path)) for path in ("/feedback", f"/feedback/replays/{plan.id}")]
        record = flower.get("/api/feedback/overview").json()["replays"]
        say_watching(client)
        watched = [text_of(flower.get(path)) for path in ("/feedback", f"/feedback/replays/{plan.id}")]

    start = "tart a worker without -Q, or with -Q feedback,feedback-replays"
    assert all(re.search(r"[Nn]o worker consumes feedback-replays", page) and start in page for page in told), told
    assert (record["active"], record["watched"]) == (1, False)
    assert not any(start in page for page in watched)


@pytest.mark.usefixtures("browsed")
def test_a_hold_for_a_wrong_key_is_red_and_can_be_held_by_hand_besides(
    flower: ServedFlower, valkey: RedisServer
) -> None:
    """With what to do and when the next probe goes; each button says what it does, and is there while it can act."""
    with redis.Redis.from_url(valkey.url) as client:
        Hold(client, actor="worker-1").heard(Classification.UNAUTHORIZED, "401 Unauthorized", at=NOON)
        page = flower.get("/feedback")
        assert 'class="alert alert-danger feedback-hold"' in page.text
        for words in ("401 Unauthorized", "set AQUILAX_API_KEY to a valid key (401)", "0 probes so far, next probe"):
            assert words in text_of(page)
        assert "if the cause is still there, they find out and hold again" in text_of(page)
        assert all(f'action="/feedback/{what}"' in page.text for what in ("hold", "resume"))

        visitor = flower.session()
        visitor.send("/feedback/hold", comment="maintenance")
        both = flower.get("/feedback")
        assert 'class="alert alert-danger feedback-hold"' in both.text
        assert "Nothing is being delivered: maintenance" in text_of(both)
        assert "a hold has begun by itself: 401 Unauthorized" in text_of(both)
        assert "The one that began by itself goes on (401 Unauthorized), with a probe at once" in text_of(both)
        assert 'action="/feedback/hold"' not in both.text

        assert flower.post("/api/feedback/resume", json={}, headers=API).json()["held"] is True
        assert "Nothing is being delivered: 401 Unauthorized" in text_of(flower.get("/feedback"))
        assert flower.post("/api/feedback/resume", json={}, headers=API).json()["held"] is False
        assert 'action="/feedback/resume"' not in flower.get("/feedback").text


def test_the_overview_says_whether_the_books_balance(flower: ServedFlower, valkey: RedisServer) -> None:
    """By the arithmetic of the accounts; replays are accepted anew, which is no loss."""
    counts = {"accepted": 15, "delivered": 8, "dead": 7}
    with valkey.client() as client:
        client.hset("feedback:counts", mapping=counts)
        balanced = "15 accepted, replays included = 8 delivered + 7 died"
        assert f"{balanced}: nothing is missing" in text_of(flower.get("/feedback"))
        client.hincrby("feedback:counts", "accepted", 2)
        assert "8 delivered + 7 died + 2 missing" in text_of(flower.get("/feedback"))
        client.hincrby("feedback:counts", "accepted", -3)
        assert "nothing is missing; 1 more than were counted as accepted so far" in text_of(flower.get("/feedback"))
        client.delete("feedback:counts")


def test_the_overview_does_not_call_an_emptied_redis_balanced(
    flower: ServedFlower, valkey: RedisServer, browsed: DeadLetterStore
) -> None:
    """Nothing accepted is nothing missing; but the database knows better, and says how many are missing."""
    with closing(redis_client(valkey.url, connections=1)) as client:
        client.lpush("feedback", "an event")
        client.hset("feedback:counts", "accepted", 1)
        record(client, browsed.engine)
        client.delete("feedback", "feedback:counts")
        shown = flower.get("/feedback")
        told = flower.get("/api/feedback/overview").json()["redis_data"]
        forget_generations(browsed.engine)

    assert 'class="feedback-books alert alert-danger"' in shown.text
    assert "but Redis has lost data" in text_of(shown)
    assert "missing since then: 1 at least" in text_of(shown)
    assert (told["kind"], told["missing_at_least"]) == ("new", 1)


def test_a_replay_says_what_its_rows_had_died_of_then(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Later deaths change the row, and not the history: by its words, or by its fingerprint if these are gone."""
    ids = bury_three(browsed)
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
    add(browsed, a_burial(reason=Reason.FORBIDDEN, http_status=403, response_body="Not yours"))
    page = text_of(flower.get(path))
    assert "forbidden 403: Not yours" in page
    assert "exhausted 503" not in page


def test_a_stopped_replay_says_what_was_not_sent(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """What waits in an ended replay waits for nothing; the pill does not say that it finished."""
    ids = bury_three(browsed)
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
    ids = bury_three(browsed)
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
    ids = bury_three(browsed)
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


def test_what_to_do_is_said_beside_the_cause(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Of a cause's rows and of one row."""
    row = row_of(browsed, bury_three(browsed)[2])
    for path in (f"/feedback/dead-letters/rows?fingerprint={row.fingerprint}", f"/feedback/dead-letters/{row.id}"):
        assert "Give the key the permission for this org or group" in text_of(flower.get(path))


def test_without_dead_letters_the_page_says_what_became_of_them(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With links; where a filter is set, it may be the filter."""
    assert "No dead letters. " in text_of(flower.get("/feedback/dead-letters"))
    row_id = add(browsed, a_burial())
    with browsed.engine.begin() as connection:
        connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(state=State.DELIVERED))
    for path in ("/feedback/dead-letters", "/feedback/dead-letters/rows"):
        page = flower.get(path)
        assert "No dead letters. 1 delivered later" in text_of(page)
        assert 'href="/feedback/dead-letters/rows?state=delivered"' in page.text
    assert "no dead letter fits" in text_of(flower.get("/feedback/dead-letters?org=x"))


def test_a_slip_in_a_filter_keeps_the_form(flower: ServedFlower) -> None:
    """With what was typed, and the words at the field."""
    for path in ("/feedback/dead-letters", "/feedback/dead-letters/rows"):
        answer = flower.get(f"{path}?org=org-1&since=yesterday")
        assert answer.status_code == 400
        assert 'value="yesterday"' in answer.text
        assert 'value="org-1"' in answer.text
        assert 'id="filter-since-wrong"' in answer.text


def test_pages_of_rows_are_numbered_and_sorted_by_their_headers(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Which of how many, and which column they go by."""
    for number in range(60):
        add(browsed, a_burial(failed_at=NOON + timedelta(seconds=number)))
    page = flower.get("/feedback/dead-letters/rows")
    assert "1\u201350 of 60" in text_of(page)
    assert "Discard all 60…" in text_of(page)
    assert 'aria-sort="descending"><a href="/feedback/dead-letters/rows?order=oldest"' in page.text
    onward = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert onward is not None
    following = flower.get(onward[1].replace("&amp;", "&"))
    assert "51\u201360 of 60" in text_of(following)
    back = re.search(r'rel="prev" href="([^"]+)"', following.text)
    assert back is not None
    assert "1\u201350 of 60" in text_of(flower.get(back[1].replace("&amp;", "&")))
    assert "10 of 60" in text_of(flower.get(onward[1].replace("&amp;", "&").replace("start=51", "start=x")))


def test_the_api_does_what_the_pages_do(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With JSON, a header of one's own, and no cookie."""
    bury_three(browsed)
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
    bury_three(browsed)
    headers = API | {"Content-Type": "application/json"}
    assert flower.post("/api/feedback/replays", data=document, headers=headers).status_code == 400
    assert not plans(browsed.engine)


def test_a_hundred_rows_are_paged_in_both_directions(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Each page leads to the next one and back, and none is shown twice."""
    ids = [add(browsed, a_burial(failed_at=NOON + timedelta(seconds=number % 7))) for number in range(60)]
    for order in ("newest", "oldest", "attempts", "replays"):
        seen, places, path = [], [], f"/api/feedback/dead-letters?order={order}&limit=25"
        page = flower.get(path).json()
        while True:
            seen += [row["id"] for row in page["rows"]]
            if page["after"] is None:
                break
            places.append([row["id"] for row in page["rows"]])
            page = flower.get(path, params={"place": page["after"]}).json()
        assert sorted(seen) == sorted(ids)
        while places:
            page = flower.get(path, params={"place": page["before"]}).json()
            assert [row["id"] for row in page["rows"]] == places.pop()
        assert page["before"] is None


def test_without_the_database_a_page_says_what_to_do(valkey: RedisServer, sqlite_url: str) -> None:
    """Status 503, in words; the overview still shows the queue."""
    with a_flower(valkey, sqlite_url) as flower:
        answer = flower.get("/feedback/dead-letters")
        assert answer.status_code == 503
        assert "aquilax-feedback db upgrade" in text_of(answer)
        assert "Traceback" not in answer.text
        assert flower.get("/api/feedback/causes").json()["do"]
        overview = flower.get("/feedback")
        assert overview.status_code == 503
        assert "The database can't be used." in overview.text
        assert re.search(r"Queued 0", text_of(overview))
        assert flower.session().send("/feedback/hold", comment="so").headers["Location"] == "/feedback?unrecorded=1"
        upgrade(sqlite_url)
        assert flower.get("/feedback/dead-letters").status_code == 200


def test_without_redis_a_page_says_what_to_do(sqlite_store: DeadLetterStore, sqlite_url: str) -> None:
    """The dead letters are there all the same; no password is shown."""
    bury_three(sqlite_store)
    nowhere = "redis://:hush@127.0.0.1:1/0"
    with served_flower(broker_url=nowhere, database_url=sqlite_url) as flower:
        overview = flower.get("/feedback")
        assert overview.status_code == 503
        assert "Redis can't be reached." in overview.text
        assert "hush" not in overview.text
        assert re.search(r"Dead letters 3", text_of(overview))
        assert "/feedback/hold" not in overview.text
        assert flower.get("/feedback/dead-letters").status_code == 200
        answer = flower.session().send("/feedback/hold", comment="so")
        assert answer.status_code == 503
        assert "FEEDBACK_BROKER_URL" in answer.text
        assert "hush" not in answer.text


@pytest.mark.usefixtures("sqlite_store")
def test_a_redis_that_hangs_holds_up_neither_page_nor_flower(valkey: RedisServer, sqlite_url: str) -> None:
    """A page waits for so long and no longer, and Flower's own pages go on meanwhile."""
    with a_flower(valkey, sqlite_url) as flower:
        assert flower.get("/feedback/dead-letters").status_code == 200
        sources = flower.app.feedback_sources
        sources._patience = 0.2
        valkey.run.pause()
        try:
            answer = flower.get("/feedback")
            assert answer.status_code == 503
            assert "no answer within 0.2 seconds" in answer.text
            assert flower.get("/healthcheck").status_code == 200
        finally:
            valkey.run.thaw()


def test_flowers_own_pages_have_our_tabs(flower: ServedFlower) -> None:
    """One navbar, wherever one is."""
    for path in ("/", "/tasks", "/feedback", "/feedback/dead-letters"):
        page = flower.get(path).text
        assert 'href="/feedback"' in page
        assert 'href="/feedback/dead-letters"' in page
    assert flower.get("/feedback/static/dashboard.js").status_code == 200
    assert flower.get("/feedback/static/../handler.py").status_code == 404
    assert flower.get("/feedback/nothing").status_code == 404
