"""Which rows another replay may take, from a look at the first few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.dead_letter_records import a_record, add, an_event, an_unreadable_record
from worker.dead_letters.replays.free_rows import FreeRows, free_rest, free_rows
from worker.dead_letters.replays.lifecycle import cancel
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import count_left_dead
from worker.dead_letters.selection import Selection

if TYPE_CHECKING:
    from worker.dead_letters.store import DeadLetterStore

EVERYTHING = Selection()
OF_A = Selection(orgs=("a",))


def test_rows_of_a_replay_that_goes_on_are_not_free(store: DeadLetterStore) -> None:
    """Nor is one that holds no event; they are free again when the replay has ended."""
    for org in ("a", "a", "b"):
        add(store, a_record(an_event(org=org)))
    add(store, an_unreadable_record())
    assert free_rows(store.engine, EVERYTHING) == FreeRows(rows=3, are_all=True)

    plan = create(store.engine, OF_A, actor="ann")

    assert free_rows(store.engine, EVERYTHING) == FreeRows(rows=1, are_all=True)
    assert free_rows(store.engine, OF_A) == FreeRows(rows=0, are_all=True)
    assert not free_rows(store.engine, OF_A).any
    cancel(store.engine, plan.id, actor="ann")
    assert free_rows(store.engine, OF_A).rows == 2


def test_no_more_rows_are_looked_at_than_asked_for(store: DeadLetterStore) -> None:
    """What was not looked at may be free."""
    for _ in range(4):
        add(store, a_record(an_event(org="a")))
    create(store.engine, OF_A, actor="ann")

    assert free_rows(store.engine, OF_A, most=3) == FreeRows(rows=0, are_all=False)
    assert free_rows(store.engine, OF_A, most=3).any
    assert free_rows(store.engine, OF_A, most=4) == FreeRows(rows=0, are_all=True)


def test_the_rest_of_a_replay_is_free_unless_another_has_it(store: DeadLetterStore) -> None:
    """And counted as far as is asked for."""
    for org in ("a", "a", "b"):
        add(store, a_record(an_event(org=org)))
    ended = create(store.engine, EVERYTHING, actor="ann")
    cancel(store.engine, ended.id, actor="ann")
    assert free_rest(store.engine, ended.id) == FreeRows(rows=3, are_all=True)
    assert [count_left_dead(store.engine, ended.id, most=most) for most in (None, 1, 3)] == [3, 2, 3]

    create(store.engine, OF_A, actor="ann")

    assert free_rest(store.engine, ended.id) == FreeRows(rows=1, are_all=True)
    assert not free_rest(store.engine, ended.id, most=2).are_all
