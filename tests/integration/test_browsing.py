"""Browsing and counting dead letters, on every kind of database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, true

from tests.support.dead_letter_records import NOON, a_record, add, an_event
from worker.database.models import State
from worker.database.schema import upgrade
from worker.dead_letters.pagination import Order, Place, page_of
from worker.dead_letters.queries import count
from worker.dead_letters.replays.planning import preview
from worker.dead_letters.selection import Selection, replayable
from worker.dead_letters.statistics import BUCKETS, Share, causes_over_time, covered, shares
from worker.dead_letters.store import DeadLetterStore
from worker.policy.retry import Reason


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("order", Order)
def test_pages_lead_forward_and_back_over_every_row_once(store: DeadLetterStore, order: Order, *, few: bool) -> None:
    """Also where many rows have the same value: the id decides then."""
    ids = [
        add(store, a_record(attempts=number % 3, failed_at=NOON + timedelta(seconds=number % 4)))
        for number in range(23)
    ]
    pages, place = [], None
    while True:
        page = page_of(store.engine, true(), order=order, place=place, size=5, few=few)
        pages.append([row.id for row in page.rows])
        if page.after is None:
            break
        place = Place.read(str(page.after), order)
    flat = [row_id for page_ids in pages for row_id in page_ids]
    assert sorted(flat) == ids
    values = {row.id: getattr(row, order.column.key) for row in page_of(store.engine, true(), size=50).rows}
    assert flat == sorted(flat, key=lambda row_id: (values[row_id], row_id), reverse=order.descending)
    for before in reversed(pages[:-1]):
        assert page.before is not None
        page = page_of(store.engine, true(), order=order, place=page.before, size=5, few=few)
        assert [row.id for row in page.rows] == before
        assert page.after is not None
    assert page.before is None


def test_a_page_stays_where_it_is_while_others_die(store: DeadLetterStore) -> None:
    """A place is a row's own, and no number of a page."""
    for number in range(6):
        add(store, a_record(failed_at=NOON + timedelta(seconds=number)))
    first = page_of(store.engine, true(), size=3)
    add(store, a_record(failed_at=NOON + timedelta(days=1)))
    second = page_of(store.engine, true(), place=first.after, size=3)
    assert [row.failed_at.second for row in second.rows] == [2, 1, 0]


@pytest.mark.parametrize(
    "text", ["", "after", "after_1", "after_x_2026-01-01T00:00:00+00:00", "up_1_2", "after_1_2026-01-01T00:00:00"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    """It stands in an address, where anybody writes anything."""
    with pytest.raises(ValueError, match=r".*"):
        Place.read(text, Order.NEWEST)


def test_causes_are_counted_in_stretches_of_time(store: DeadLetterStore) -> None:
    """The stretches are even, end with the last death, and each death is in one."""
    for minutes in (0, 0, 30, 32):
        add(store, a_record(an_event(org="a"), failed_at=NOON + timedelta(minutes=minutes)))
    add(store, a_record(an_event(org="b"), reason=Reason.FORBIDDEN, http_status=403, failed_at=NOON))
    add(store, a_record(an_event(org="c"), reason=Reason.FORBIDDEN, http_status=403, failed_at=NOON))
    found = causes_over_time(store.engine, true())
    assert [(cause.rows, cause.org, sum(cause.counts)) for cause in found.causes] == [(4, "a", 4), (2, None, 2)]
    assert found.causes[0].summary == "rejected 404: Request ID not found"
    assert found.causes[0].first_failed_at == NOON
    assert found.causes[0].last_failed_at == NOON + timedelta(minutes=32)
    assert len(found.counts) == BUCKETS
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (4, 1, 6)
    assert found.begin is not None
    assert found.begin <= NOON < found.begin + found.bucket
    assert found.begin + BUCKETS * found.bucket == NOON + timedelta(minutes=32, seconds=1)
    assert causes_over_time(store.engine, Selection(orgs=("unknown",)).clause()).rows == 0


def test_shares_are_counted_by_cause_org_and_state(store: DeadLetterStore) -> None:
    """For a preview."""
    for org in ("a", "a", "b"):
        add(store, a_record(an_event(org=org)))
    line = "rejected 404: Request ID not found"
    assert shares(store.engine, true()) == [
        Share(summary=line, org="a", state=State.DEAD, rows=2),
        Share(summary=line, org="b", state=State.DEAD, rows=1),
    ]


def test_a_condition_means_the_same_however_it_is_looked_up(store: DeadLetterStore) -> None:
    """SQLite is only kept from one of its indices."""
    for minutes in range(5):
        add(store, a_record(failed_at=NOON + timedelta(minutes=minutes)))
    which = Selection(
        since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=4), states=(State.DEAD,)
    ).clause()
    assert count(store.engine, covered(which)) == count(store.engine, which) == 3


def test_sqlite_counts_from_one_index_and_reads_no_row(sqlite_url: str) -> None:
    """At a million rows that is the difference between a fraction of a second and several."""
    upgrade(sqlite_url)
    store = DeadLetterStore.connect(sqlite_url)
    plans: list[str] = []

    def explain(connection: Any, _: Any, statement: str, parameters: Any, *_more: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in rows if " dead_letters " in f"{row[3]} " or "TEMP B-TREE" in row[3])

    add(store, a_record())
    event.listen(store.engine, "before_cursor_execute", explain)
    until = Selection(states=(State.DEAD,), until=NOON + timedelta(days=1))
    causes_over_time(store.engine, until.clause())
    shares(store.engine, replayable(until))
    preview(store.engine, until)
    store.close()
    assert len(plans) > BUCKETS
    by_id = "SEARCH dead_letters USING INTEGER PRIMARY KEY (rowid=?)"  # the text of a cause, of one row of each
    read = {plan for plan in plans if "COVERING INDEX" not in plan} - {by_id}
    assert read == {"USE TEMP B-TREE FOR ORDER BY"}, "the groups of a preview are sorted, and never the rows"
