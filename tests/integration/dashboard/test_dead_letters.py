"""The pages that show dead letters, on real databases: by cause, row by row, and one whole."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from producer.message import TASK
from tests.support.dashboard import add_three, an_invalid_record, text_of
from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, add, an_event, row_of
from worker.database.models import DeadLetter, State
from worker.dead_letters.replays.planning import create
from worker.dead_letters.selection import Selection
from worker.operations.dashboard import dead_letter_views, presenters

if TYPE_CHECKING:
    from tests.support.flower import ServedFlower
    from worker.dead_letters.store import DeadLetterStore

HOSTILE = "<script>document.title='stolen'</script><img src=x onerror=alert(1)>\" ' ><b>"


def test_causes_are_counted_over_time_with_their_org(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """One line for each cause, the most frequent first; the org is named if it is one."""
    add_three(browsed)
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
    wanted, _, _ = add_three(browsed)
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
    row_id = add(browsed, a_record(an_event(request_id=REQUEST_ID), attempts=7))
    page = text_of(flower.get(f"/feedback/dead-letters/{row_id}"))
    for words in ("rejected, HTTP 404", "Request ID not found", REQUEST_ID, "org-1", "group-1", "Attempts 7"):
        assert words in page
    assert flower.get(f"/api/feedback/dead-letters/{row_id}").json()["request_id"] == REQUEST_ID
    assert flower.get("/feedback/dead-letters/4711").status_code == 404
    assert flower.get("/feedback/dead-letters/999999999999999999").status_code == 404


def test_what_flower_has_seen_of_an_event_stands_with_its_row_and_its_trace(
    flower: ServedFlower, browsed: DeadLetterStore
) -> None:
    """With the row that of the message that made it; with the trace all that have the request_id as an argument."""
    row_id = add(browsed, a_record(an_event(request_id=REQUEST_ID), message_id="0a1b2c3d4e5f"))
    page = text_of(flower.get(f"/feedback/dead-letters/{row_id}"))
    assert "What Flower has seen Nothing: Flower keeps tasks in memory" in page
    told = {"uuid": "0a1b2c3d4e5f", "hostname": "worker@one", "clock": 1, "local_received": NOON.timestamp()}
    received = {"name": TASK, "args": "[]", "kwargs": f"{{'request_id': '{REQUEST_ID}'}}"}
    for seconds, event in enumerate(({"type": "task-received", **received}, {"type": "task-started"})):
        flower.app.events.state.event(told | event | {"timestamp": NOON.timestamp() + seconds})

    seen = flower.get(f"/feedback/dead-letters/{row_id}")

    assert "12:00:00 UTC received 2026-03-01 12:00:01 UTC started" in text_of(seen)
    assert 'href="/task/0a1b2c3d4e5f"' in seen.text
    trace = flower.get(f"/feedback/trace?request_id={REQUEST_ID}")
    assert "Task 0a1b2c3d… (STARTED) in Flower" in text_of(trace)
    assert 'href="/task/0a1b2c3d4e5f"' in trace.text


def test_nothing_hostile_reaches_the_page_unescaped(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """An answer, an org, a note and a raw message may hold anything."""
    row_id = add(browsed, a_record(an_event(org=HOSTILE, group=HOSTILE), response_body=HOSTILE))
    raw = add(browsed, an_invalid_record(HOSTILE.encode()))
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
    row_id = add(browsed, an_invalid_record(raw))
    assert "80 00 3c 73 63 72 69 70 74 3e" in flower.get(f"/feedback/dead-letters/{row_id}").text
    file = flower.get(f"/feedback/dead-letters/{row_id}/raw")
    assert file.content == raw
    assert file.headers["Content-Type"] == "application/octet-stream"
    assert file.headers["Content-Disposition"].startswith("attachment")
    assert flower.get(f"/feedback/dead-letters/{add(browsed, a_record())}/raw").status_code == 404


def test_what_to_do_is_said_beside_the_cause(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Of a cause's rows and of one row."""
    row = row_of(browsed, add_three(browsed)[2])
    for path in (f"/feedback/dead-letters/rows?fingerprint={row.fingerprint}", f"/feedback/dead-letters/{row.id}"):
        assert "Give the key the permission for this org or group" in text_of(flower.get(path))


def test_without_dead_letters_the_page_says_what_became_of_them(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """With links; where a filter is set, it may be the filter."""
    assert "No dead letters. " in text_of(flower.get("/feedback/dead-letters"))
    row_id = add(browsed, a_record())
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
        add(browsed, a_record(failed_at=NOON + timedelta(seconds=number)))
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


def test_a_hundred_rows_are_paged_in_both_directions(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Each page leads to the next one and back, and none is shown twice."""
    ids = [add(browsed, a_record(failed_at=NOON + timedelta(seconds=number % 7))) for number in range(60)]
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


def test_what_another_replay_has_is_not_offered(flower: ServedFlower, browsed: DeadLetterStore) -> None:
    """Of a cause with few rows that is looked up; of one with many the preview says it."""
    for _ in range(3):
        add(browsed, a_record(an_event(org="org-1")))
    free = add(browsed, a_record(an_event(org="org-2"), http_status=400, response_body="bad"))
    create(browsed.engine, Selection(orgs=("org-1",)), actor="ann")

    causes = flower.get("/feedback/dead-letters").text
    assert causes.count(">Replay…</a>") == 1
    assert f"fingerprint={row_of(browsed, free).fingerprint}" in causes
    assert "Replay all 1…" in text_of(flower.get("/feedback/dead-letters/rows"))
    assert "Replay all" not in text_of(flower.get("/feedback/dead-letters/rows?org=org-1"))


def test_more_rows_than_are_counted_are_shown_as_more(
    flower: ServedFlower, browsed: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list says at least how many; the preview, and the API, count all."""
    for _ in range(60):
        add(browsed, a_record())
    for module in (dead_letter_views, presenters):
        monkeypatch.setattr(module, "COUNTED", 55)
    page = text_of(flower.get("/feedback/dead-letters/rows"))
    assert "1\u201350 of 55+" in page
    assert "Replay all 55+…" in page
    assert "Discard all 55+…" in page
    assert flower.get("/api/feedback/dead-letters").json()["total"] == 60
    assert "60 rows" in text_of(flower.get("/feedback/dead-letters/discard"))
