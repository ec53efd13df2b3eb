"""The Overview: how it goes, the hold, and what it says where Redis or the database is unavailable."""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.dashboard import API, add_three, text_of
from tests.support.dead_letter_records import NOON, a_record, add
from tests.support.flower import ServedFlower, served_flower
from tests.support.partitions import count, enqueue, opened, request_id_of_partition, take
from tests.support.places import places_of
from worker.accounting.continuity import record
from worker.clients.redis.connections import redis_client
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.partitions import Partitions
from worker.database.audit_log import actions
from worker.database.redis_generations import forget_generations
from worker.database.schema import upgrade
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queue import say_watching
from worker.dead_letters.selection import Selection
from worker.delivery.hold import Hold
from worker.policy.classification import Classification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore


@contextmanager
def a_flower(valkey: RedisServer, url: str, **options: Any) -> Iterator[ServedFlower]:
    """Serve Flower with these options."""
    with served_flower(broker_url=valkey.url, database_url=url, **options) as flower:
        yield flower


def test_an_operator_holds_one_org_and_resumes_it(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """By the page and by the API; the others go on, and an empty name never means everything."""
    visitor = flower.session()
    assert visitor.send("/feedback/hold", comment="acme migrates", org="acme").status_code == 303
    shown = flower.get("/feedback")
    assert "Nothing of the org acme is delivered: acme migrates" in text_of(shown)
    assert 'name="scope" value="org:acme"' in shown.text
    overview = flower.get("/api/feedback/overview").json()
    assert overview["hold"] is None
    assert [hold["scope"] for hold in overview["held_orgs"]["holds"]] == ["org:acme"]
    assert visitor.send("/feedback/resume", scope="org:acme").status_code == 303
    assert "Nothing of the org" not in text_of(flower.get("/feedback"))

    assert flower.post("/api/feedback/hold", json={"comment": "so", "org": "globex"}, headers=API).json()["held"]
    for wrong in ({"org": ""}, {"org": 1}, {"key": ""}, {"org": "globex", "key": "k"}):
        assert flower.post("/api/feedback/resume", json=wrong, headers=API).status_code == 400
    assert flower.post("/api/feedback/hold", json={"comment": "so", "org": ""}, headers=API).status_code == 400
    assert visitor.send("/feedback/resume", scope="").status_code == 400
    ended = flower.post("/api/feedback/resume", json={"org": "globex"}, headers=API).json()
    assert ended == {"held": False, "recorded": True}
    done = [(action.action, action.target) for action in actions(browsed.engine)]
    assert done == [("resume", "org:globex"), ("hold", "org:globex"), ("resume", "org:acme"), ("hold", "org:acme")]


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


def test_workers_that_are_dead_are_no_workers(
    sqlite_store: DeadLetterStore, sqlite_url: str, valkey: RedisServer
) -> None:
    """Their leases have ended: a red banner says what waits and what to do, and goes when one is alive again."""
    add(sqlite_store, a_record())
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
    add(sqlite_store, a_record())
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


@pytest.mark.usefixtures("sqlite_store")
def test_partitions_are_summed_and_each_is_shown(
    sqlite_url: str, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red is one that no worker consumes, or that can't be asked; what one has too much hides no loss of another."""
    monkeypatch.setenv("FEEDBACK_PARTITIONS", "3")
    with opened(valkey.url, 3) as partitions, a_flower(valkey, sqlite_url) as flower:
        names = [request_id_of_partition(partitions, number) for number in (0, 1, 2)]
        enqueue(partitions, *names, names[1])
        for client in list(partitions)[:2]:
            take(client, "host:8:b.1:w2@host")
        shown, record = flower.get("/feedback"), flower.get("/api/feedback/overview").json()
        count(partitions[0], accepted=5)
        count(partitions[1], accepted=-5)
        unbalanced = text_of(flower.get("/feedback"))
        partitions[1].delete(feedback_keys(partitions[1]).counts)
        partitions[1].set(feedback_keys(partitions[1]).counts, "no hash")
        away, told = flower.get("/feedback"), flower.get("/api/feedback/overview").json()

    assert "3 partitions" in text_of(shown)
    assert "00 1 0 0" in text_of(shown)
    assert re.search(r'<tr class="table-danger">\s*<td data-label="Partition">02 <strong>no living worker', shown.text)
    assert shown.text.count('<tr class="table-danger">') == 1
    assert (record["queued"], [row["queued"] for row in record["partitions"]]) == (4, [1, 2, 1])
    assert "+ 5 missing: ask aquilax-feedback reconcile" in unbalanced
    assert away.status_code == 503
    assert "1 of 3 partitions can't be reached." in text_of(away)
    assert "(of the 2 partitions that can be asked)" in text_of(away)
    assert (told["queued"], [row["up"] for row in told["partitions"]]) == (None, [True, False, True])


def test_the_overview_says_whether_the_books_balance(flower: ServedFlower, valkey: RedisServer) -> None:
    """By the arithmetic of the accounts; replays are accepted again, which is no loss."""
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
        record(Partitions([client]), browsed.engine)
        client.delete("feedback", "feedback:counts")
        shown = flower.get("/feedback")
        told = flower.get("/api/feedback/overview").json()["redis_data"]
        forget_generations(browsed.engine)

    assert 'class="feedback-books alert alert-danger"' in shown.text
    assert "but Redis has lost data" in text_of(shown)
    assert "missing since then: 1 at least" in text_of(shown)
    assert (told["kind"], told["missing_at_least"]) == ("new", 1)


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
    add_three(sqlite_store)
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
