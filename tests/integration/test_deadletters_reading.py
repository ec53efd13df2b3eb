"""Looking at dead letters, choosing some, and discarding them, on real databases."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from itertools import product
from threading import Event
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, true, update

from tests.support.dead_letter_records import (
    NOON,
    REQUEST_ID,
    a_record,
    add,
    an_event,
    an_unreadable_record,
    rows_of,
    settle,
)
from worker.database.audit_log import actions
from worker.database.models import DeadLetter, State
from worker.dead_letters.causes import causes_over_time
from worker.dead_letters.columns import new_row
from worker.dead_letters.discard import discard
from worker.dead_letters.pagination import page_of
from worker.dead_letters.queries import find, stream
from worker.dead_letters.replays.planning import preview
from worker.dead_letters.selection import HOLDS_EVENT, Selection, holds_event, is_replayable, replayable
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.dead_letters.store import DeadLetterStore

EVERYTHING = Selection()


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), [1, 2, 3]),
        (Selection(ids=(1, 3)), [1, 3]),
        (Selection(orgs=("org-2",)), [2]),
        (Selection(groups=("group-3", "group-2")), [3]),
        (Selection(reasons=(Reason.EXHAUSTED,)), [2]),
        (Selection(http_statuses=(503, 403)), [2]),
        (Selection(request_ids=(REQUEST_ID,)), [1]),
        (Selection(since=NOON + timedelta(hours=1)), [2, 3]),
        (Selection(until=NOON + timedelta(hours=1)), [1]),
        (Selection(states=(State.DISCARDED,)), [3]),
        (Selection(fingerprints=("732a1c19a072",)), [1, 3]),
        (Selection(fingerprints=("732a1c19a072",), orgs=("org-2",)), []),
    ],
)
def test_filters_choose_the_rows_that_fit_all_of_them(
    store: DeadLetterStore, selection: Selection, found: list[int]
) -> None:
    """Any of the values of one filter, and every filter."""
    store.add(a_record(an_event(request_id=REQUEST_ID)))
    store.add(
        a_record(an_event(org="org-2"), reason=Reason.EXHAUSTED, http_status=503, failed_at=NOON + timedelta(hours=1))
    )
    third = add(store, a_record(an_event(group="group-3"), failed_at=NOON + timedelta(hours=2)))
    settle(store, third, State.DISCARDED)

    pages = stream(store.engine, selection.clause(), page=1)

    assert [row.id for page in pages for row in page] == found
    assert [row.id for row in page_of(store.engine, selection.clause(), size=10).rows] == found[::-1]


@pytest.mark.parametrize(
    "states",
    [(State.DEAD, State.DISCARDED), (State.DEAD,), (State.REPLAYING,), (State.DELIVERED,)],
)
def test_a_row_is_replayable_exactly_where_the_query_takes_it(
    store: DeadLetterStore, states: tuple[State, ...]
) -> None:
    """The pages ask of a row what a replay asks of the database."""
    add(store, an_unreadable_record())
    for state, enqueued_at in product(State, (None, NOON)):
        row_id = add(store, a_record())
        values = {"state": state, "replay_enqueued_at": enqueued_at}
        with store.engine.begin() as connection:
            connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(values))

    rows = [row for page in stream(store.engine, true()) for row in page]

    assert len(rows) == 2 * len(State) + 1
    for condition, holds in (
        (replayable(Selection(states=states)), partial(is_replayable, states=states)),
        (HOLDS_EVENT, holds_event),
    ):
        taken = {row.id for page in stream(store.engine, condition) for row in page}
        assert taken == {row.id for row in rows if holds(row)}


def test_causes_are_counted_the_most_frequent_first(store: DeadLetterStore) -> None:
    """What to fix first at 3 a.m."""
    store.add(a_record(response_body="boom 1", http_status=400))
    for hour in (1, 2):
        store.add(a_record(response_body=f"job {hour} not found", failed_at=NOON + timedelta(hours=hour)))

    first, second = causes_over_time(store.engine, EVERYTHING).causes

    assert (first.summary, first.rows) == ("rejected 404: job <n> not found", 2)
    assert (first.first_failed_at, first.last_failed_at) == (NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    assert (second.summary, second.rows) == ("rejected 400: boom <n>", 1)


def test_a_dead_letter_is_found_by_its_id_and_by_its_request_id(store: DeadLetterStore) -> None:
    """Whichever the operator has at hand."""
    row_id = add(store, a_record(an_event(request_id=REQUEST_ID)))

    for name in (str(row_id), REQUEST_ID, REQUEST_ID.upper()):
        assert [row.id for row in find(store.engine, name)] == [row_id]
    for name in ("4711", "9" * 40, "nonsense"):
        assert find(store.engine, name) == []


def test_discarded_rows_say_why_and_are_not_replayed(store: DeadLetterStore) -> None:
    """Unless they are asked for by their state: a discard can be taken back."""
    ids = [add(store, a_record()) for _ in range(3)]
    which = replayable(Selection(ids=tuple(ids[:2])))

    assert discard(store.engine, which, comment="load test", actor="me") == 2

    assert [row.comment for row in rows_of(store)] == ["load test", "load test", ""]
    assert preview(store.engine, EVERYTHING).rows == 1
    assert preview(store.engine, Selection(states=(State.DISCARDED,))).rows == 2


def test_a_discard_is_written_down_with_who_said_so(store: DeadLetterStore) -> None:
    """And how many rows it was; one that found nothing is no action."""
    add(store, a_record())

    discard(store.engine, replayable(EVERYTHING), comment="load test", actor="ann")
    discard(store.engine, replayable(EVERYTHING), comment="load test", actor="bob")

    (action,) = actions(store.engine)
    assert (action.actor, action.action, action.target, action.comment) == (
        "ann",
        "discard",
        "dead letters",
        "load test",
    )
    assert action.details == {"rows": 1}


def test_a_discard_goes_in_steps_that_can_be_stopped(store: DeadLetterStore) -> None:
    """What was done holds, and is in the audit log; a dead letter is inserted between two steps."""
    with store.engine.begin() as connection:
        connection.execute(insert(DeadLetter), [new_row(a_record()) for _ in range(1200)])
    stop, steps = Event(), list[int]()

    def progress(done: int) -> None:
        steps.append(done)
        (action,) = actions(store.engine)
        assert action.details == {"rows": done}
        store.add(a_record())
        if len(steps) == 2:
            stop.set()

    which = replayable(Selection(until=NOON + timedelta(hours=1)))
    discarded = discard(store.engine, which, comment="enough", actor="ann", stop=stop, progress=progress)

    assert steps == [500, 1000]
    assert discarded == 1000
    states = [row.state for row in rows_of(store)]
    assert states == [State.DISCARDED] * 1000 + [State.DEAD] * 202


def test_a_discard_that_is_cut_short_is_written_down_as_far_as_it_went(store: DeadLetterStore) -> None:
    """The rows and their number go in one transaction."""
    with store.engine.begin() as connection:
        connection.execute(insert(DeadLetter), [new_row(a_record()) for _ in range(600)])

    def cut_short(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discard(store.engine, replayable(EVERYTHING), comment="enough", actor="ann", progress=cut_short)

    (action,) = actions(store.engine)
    assert action.details == {"rows": 500}
    assert [row.state for row in rows_of(store)].count(State.DISCARDED) == 500
