"""The page and the API that say what became of one press, on real databases and a real Valkey."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from producer.message import to_message
from tests.support.dashboard import text_of
from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, add, an_event
from worker.dead_letters.queries import request_ids_like
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from tests.support.flower import ServedFlower
    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

ANOTHER = REQUEST_ID[:-1] + "7"
ELSEWHERE = "f" + REQUEST_ID[1:]

ATTEMPT = Attempt.of(
    Response(status=503, text="<b>busy</b>", took=timedelta(seconds=1)), at=NOON, worker="w@host", then=ResultKind.RETRY
)


def test_a_press_is_found_from_every_page_whole_or_by_its_beginning(
    flower: ServedFlower, browsed: DeadLetterStore, valkey: RedisServer
) -> None:
    """The field in the navbar, which Flower's own pages have too, leads to the timeline, or to a choice."""
    row = add(browsed, a_record(an_event(request_id=REQUEST_ID), history=(ATTEMPT,)))
    for name in (ANOTHER, ELSEWHERE):
        add(browsed, a_record(an_event(request_id=name)))
    with valkey.client() as client:
        client.lpush("feedback", to_message(an_event(request_id=REQUEST_ID, status=False)))

    page = flower.get("/feedback/trace", params={"request_id": f" {REQUEST_ID.upper()} "})
    found = flower.get(f"/api/feedback/trace/{REQUEST_ID}").json()
    choice = flower.get("/feedback/trace", params={"request_id": REQUEST_ID[:8] + "…"})

    assert "👎 false is queued. Dead letter " in text_of(page)
    assert f"Dead letter {row} (👍 true): it was not delivered." in text_of(page)
    assert "<b>busy</b>" not in page.text
    assert "sent by w@host: 503 &lt;b&gt;busy&lt;/b&gt; after 1,000 ms; to be retried" in page.text
    assert [one["where"] for one in found["messages"]] == ["queued"]
    assert found["dead_letters"][0]["history"] == [ATTEMPT.to_record()]
    assert "2 request ids begin with 77e81bbc" in text_of(choice)
    assert flower.get("/api/feedback/trace/77e81bbc").json()["request_ids"] == [REQUEST_ID, ANOTHER]
    assert request_ids_like(browsed.engine, REQUEST_ID[:8], limit=5) == [REQUEST_ID, ANOTHER]
    assert request_ids_like(browsed.engine, REQUEST_ID[:35], limit=1) == [REQUEST_ID]
    for path in ("/workers", "/feedback", "/feedback/audit"):
        assert 'action="/feedback/trace"' in flower.get(path).text


def test_the_pages_of_a_row_and_of_rows_lead_to_the_whole_story(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With a button that copies the request_id; the row has the table of what was sent."""
    row = add(browsed, a_record(an_event(request_id=REQUEST_ID), history=(ATTEMPT,)))

    one, rows = flower.get(f"/feedback/dead-letters/{row}"), flower.get("/feedback/dead-letters/rows")

    for page in (one, rows):
        assert f'href="/feedback/trace?request_id={REQUEST_ID}"' in page.text
        assert f'data-copy="{REQUEST_ID}"' in page.text
    assert "503 <b>busy</b> 1,000 ms to be retried w@host" in text_of(one).replace("&lt;", "<").replace("&gt;", ">")


def test_what_is_not_known_or_can_not_be_searched_for_is_said(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With the status that tells programs, and what is expected."""
    assert browsed.engine
    unknown, wrong = (flower.get("/feedback/trace", params={"request_id": text}) for text in (REQUEST_ID, "<i>"))

    assert (unknown.status_code, wrong.status_code) == (404, 400)
    assert "Nothing is known of it: it was never enqueued here" in text_of(unknown)
    assert "expected a request_id such as" in text_of(wrong)
    assert "<i>" not in wrong.text
    assert flower.get("/feedback/trace").status_code == 200
    assert flower.get("/feedback/trace", params={"request": "x"}).status_code == 400
    assert flower.get(f"/api/feedback/trace/{REQUEST_ID}").json()["known"] is False
    assert flower.get("/api/feedback/trace/00000000").status_code == 404
    assert flower.get("/api/feedback/trace/nothing").status_code == 400
