"""Browsing and counting dead letters, on every kind of database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, true

from tests.support.dead_letter_records import NOON, a_record, add, an_event, an_unreadable_record
from worker.database.models import DeadLetter, State
from worker.dead_letters.causes import BUCKETS, causes_over_time
from worker.dead_letters.lookups import by_no_index, covered
from worker.dead_letters.pagination import Order, Place, page_of
from worker.dead_letters.queries import count, stream
from worker.dead_letters.replays.lifecycle import cancel
from worker.dead_letters.replays.planning import create
from worker.dead_letters.selection import Selection
from worker.dead_letters.statistics import Share, shares
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement

    from worker.dead_letters.causes import FingerprintCount
    from worker.dead_letters.store import DeadLetterStore

EVERYTHING = Selection()


@pytest.mark.parametrize("near", [3, 2_000])
@pytest.mark.parametrize("order", Order)
def test_pages_lead_forward_and_back_over_every_row_once(store: DeadLetterStore, order: Order, near: int) -> None:
    """Also where many rows have the same value: the id decides then; and however they are found."""
    ids = [
        add(store, a_record(attempts=number % 3, failed_at=NOON + timedelta(seconds=number % 4)))
        for number in range(23)
    ]
    pages, place = [], None
    while True:
        page = page_of(store.engine, true(), order=order, place=place, size=5, near=near)
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
        page = page_of(store.engine, true(), order=order, place=page.before, size=5, near=near)
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
    found = causes_over_time(store.engine, EVERYTHING)
    assert [(cause.rows, cause.org, sum(cause.counts)) for cause in found.causes] == [(4, "a", 4), (2, None, 2)]
    assert found.causes[0].summary == "rejected 404: Request ID not found"
    assert found.causes[0].first_failed_at == NOON
    assert found.causes[0].last_failed_at == NOON + timedelta(minutes=32)
    assert len(found.counts) == BUCKETS
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (4, 1, 6)
    assert found.begin is not None
    assert found.begin <= NOON < found.begin + found.bucket
    assert found.begin + BUCKETS * found.bucket == NOON + timedelta(minutes=32, seconds=1)
    assert causes_over_time(store.engine, Selection(orgs=("unknown",))).rows == 0


def test_shares_are_counted_by_cause_org_and_state(store: DeadLetterStore) -> None:
    """For a preview."""
    for org in ("a", "a", "b"):
        add(store, a_record(an_event(org=org)))
    line = "rejected 404: Request ID not found"
    assert shares(store.engine, true()) == [
        Share(summary=line, org="a", state=State.DEAD, rows=2),
        Share(summary=line, org="b", state=State.DEAD, rows=1),
    ]


@pytest.mark.parametrize("look", [covered, by_no_index])
def test_a_condition_means_the_same_however_it_is_looked_up(
    store: DeadLetterStore, look: Callable[[ColumnElement[bool]], ColumnElement[bool]]
) -> None:
    """SQLite is only kept from one of its indices."""
    for minutes in range(5):
        add(store, a_record(an_event(org=f"org-{minutes % 2}"), failed_at=NOON + timedelta(minutes=minutes)))
    during = Selection(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=4))
    for selection in (
        replace(during, states=(State.DEAD,)),
        replace(during, states=tuple(State), orgs=("org-0", "org-1")),
        replace(during, states=(State.DEAD, State.DELIVERED), groups=("group-1",)),
    ):
        which = selection.clause()
        with store.engine.connect() as connection:
            rows = connection.scalars(select(DeadLetter.id).where(look(which))).all()
        assert sorted(rows) == [2, 3, 4]
        assert count(store.engine, which) == 3


def test_what_is_counted_up_to_a_number_is_counted_no_further(store: DeadLetterStore) -> None:
    """One more says that there are more."""
    for _ in range(5):
        add(store, a_record())
    assert [count(store.engine, true(), most=most) for most in (3, 4, 5, 6)] == [4, 5, 5, 5]


_OF_404 = ("rejected 404", 3, None, (0, 0, 31))


@pytest.mark.parametrize("few", [0, 100])
def test_causes_are_the_same_however_they_are_counted(store: DeadLetterStore, few: int) -> None:
    """Few rows are counted here, and many in the database; some are those that a replay did not send."""
    for minutes, org in ((0, "a"), (7, "a"), (500, "b"), (501, None)):
        event_ = None if org is None else an_event(org=org)
        record = an_unreadable_record() if event_ is None else a_record(event_)
        add(store, replace(record, failed_at=NOON + timedelta(minutes=minutes)))
    add(store, a_record(an_event(org="c"), http_status=400, response_body="bad", failed_at=NOON))
    plan = create(store.engine, EVERYTHING, actor="me")
    cancel(store.engine, plan.id, actor="me")
    for selection, expected in (
        (
            EVERYTHING,
            [("rejected 404", 3, None, (0, 0, 31)), ("invalid", 1, None, (31,)), ("rejected 400", 1, "c", (0,))],
        ),
        (Selection(orgs=("a",)), [("rejected 404", 2, "a", (24, 31))]),
        (Selection(rest_of=(plan.id,)), [_OF_404, ("rejected 400", 1, "c", (0,))]),
        (Selection(groups=("unknown",)), []),
    ):
        causes = causes_over_time(store.engine, selection, few=few).causes
        told = [
            (
                " ".join(cause.summary.replace(":", "").split()[: len(name.split())]),
                cause.rows,
                cause.org,
                _places(cause),
            )
            for cause, (name, *_) in zip(causes, expected, strict=True)
        ]
        assert sorted(told, key=str) == sorted(expected, key=str), selection
    every = causes_over_time(store.engine, EVERYTHING, few=few)
    assert every.bucket == timedelta(seconds=940)  # 501 minutes and a second, in 32 stretches
    assert {cause.summary.partition(" ")[0]: cause.replayable for cause in every.causes}["rejected"]
    assert [cause.replayable for cause in every.causes].count(False) == 1


def _places(cause: FingerprintCount) -> tuple[int, ...]:
    """In which stretch of time each row died."""
    return tuple(place for place, rows in enumerate(cause.counts) for _ in range(rows))


@pytest.mark.parametrize("few", [0, 100])
def test_rows_are_streamed_by_their_ids_however_many_there_are(store: DeadLetterStore, few: int) -> None:
    """Page by page, and as many as are wanted."""
    ids = [add(store, a_record(an_event(org="a" if number % 2 else "b"))) for number in range(9)]
    which = Selection(orgs=("b",)).clause()
    pages = [[row.id for row in page] for page in stream(store.engine, which, page=2, few=few)]
    assert pages == [[ids[0], ids[2]], [ids[4], ids[6]], [ids[8]]]
    limited = [[row.id for row in page] for page in stream(store.engine, which, page=2, limit=3, few=few)]
    assert limited == [[ids[0], ids[2]], [ids[4]]]
