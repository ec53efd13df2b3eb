"""Pruning, over every database: what is over goes, what is not stays, and the books add up whatever happens."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.event import listen

from tests.burials import NOON, a_burial, an_event, bury, row_of, rows_of
from tests.processes import ROOT, eventually
from worker.accounts.table import look_at_table
from worker.deadletters import DeadLetter, DeadLetterStore, State
from worker.deadletters.pruning import Pruned, count_prunable, prune
from worker.deadletters.store import _new_row

if TYPE_CHECKING:
    from collections.abc import Iterable

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
BEFORE = datetime.now(UTC) - timedelta(days=90)


def _settled(store: DeadLetterStore, *row_ids: int, state: State = State.DELIVERED, at: datetime = LONG_AGO) -> None:
    with store.engine.begin() as connection:
        values = {"state": state, "settled_at": at, "died_at": min(at, LONG_AGO)}
        connection.execute(update(DeadLetter).where(DeadLetter.id.in_(row_ids)).values(values))


def _many(store: DeadLetterStore, messages: Iterable[str]) -> None:
    """Rows that are over, of these messages; '' is one from before there were counts."""
    over = {"state": State.DELIVERED, "settled_at": LONG_AGO, "died_at": LONG_AGO}
    with store.engine.begin() as connection:
        connection.execute(insert(DeadLetter), [_new_row(a_burial(message_id=name)) | over for name in messages])


def _made(store: DeadLetterStore) -> int:
    """What the books say that counted burials made, wherever it is now."""
    table = look_at_table(store.engine)
    return table.made + table.pruned


def test_what_has_been_over_for_long_enough_is_pruned(store: DeadLetterStore) -> None:
    """Delivered or discarded, and settled before then."""
    delivered, discarded, lately = (bury(store, a_burial()) for _ in range(3))
    _settled(store, delivered)
    _settled(store, discarded, state=State.DISCARDED)
    _settled(store, lately, at=BEFORE + timedelta(seconds=1))

    assert count_prunable(store.engine, BEFORE) == Pruned(dead_letters=2)
    assert prune(store.engine, BEFORE) == Pruned(dead_letters=2)
    assert [row.id for row in rows_of(store)] == [lately]
    assert prune(store.engine, BEFORE) == Pruned()


def test_what_is_not_over_is_never_pruned(store: DeadLetterStore) -> None:
    """However old it is: it waits for somebody."""
    dead, replaying = (bury(store, a_burial(died_at=NOON - timedelta(days=3650))) for _ in range(2))
    with store.engine.begin() as connection:
        # As one is that had an outcome before, and was replayed since.
        values = {"state": State.REPLAYING, "settled_at": LONG_AGO}
        connection.execute(update(DeadLetter).where(DeadLetter.id == replaying).values(values))

    assert prune(store.engine, datetime.now(UTC)) == Pruned()
    assert [row.id for row in rows_of(store)] == [dead, replaying]


def test_what_was_pruned_is_not_missed(store: DeadLetterStore) -> None:
    """The books count it; rows from before there were counts are in no book."""
    _many(store, ["tag-1", "tag-2", "", ""])
    bury(store, a_burial(message_id="tag-3"))
    assert _made(store) == 3

    assert prune(store.engine, BEFORE).dead_letters == 4

    table = look_at_table(store.engine)
    assert (table.made, table.pruned) == (1, 2)


def test_it_goes_in_steps_that_can_be_stopped(store: DeadLetterStore) -> None:
    """What was done holds, and the next run does the rest."""
    _many(store, map(str, range(1200)))
    stop, steps = Event(), list[int]()

    def progress(done: Pruned) -> None:
        steps.append(done.dead_letters)
        if len(steps) == 2:
            stop.set()

    assert prune(store.engine, BEFORE, stop=stop, progress=progress) == Pruned(dead_letters=1000)
    assert (steps, _made(store)) == ([500, 1000], 1200)
    assert prune(store.engine, BEFORE) == Pruned(dead_letters=200)
    assert (_made(store), rows_of(store)) == (1200, [])


def test_two_at_once_count_each_row_once(store: DeadLetterStore) -> None:
    """A person runs it while a worker does; so does the very first number, which both want to write."""
    _many(store, map(str, range(1000)))

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(prune, store.engine, BEFORE) for _ in range(2)]
        pruned = [run.result().dead_letters for run in runs]

    assert (sum(pruned), _made(store), rows_of(store)) == (1000, 1000, [])


def test_a_row_that_dies_again_meanwhile_stays(store: DeadLetterStore) -> None:
    """It was over when it was looked at, and is not any more when it would be deleted."""
    event = an_event()
    row_id = bury(store, a_burial(event, first_enqueued_at=NOON))
    _settled(store, row_id, state=State.DISCARDED)
    died_again: list[bool] = []

    def die_again(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE") and not died_again:
            died_again.append(True)
            store.bury(a_burial(event, first_enqueued_at=datetime.now(UTC)))

    listen(store.engine, "before_cursor_execute", die_again)

    assert prune(store.engine, BEFORE) == Pruned()
    assert died_again
    assert row_of(store, row_id).state is State.DEAD


_KILLED = """
import sys
from datetime import datetime
from worker.deadletters import DeadLetterStore
from worker.deadletters.pruning import prune
store = DeadLetterStore.connect(sys.argv[1])
prune(store.engine, datetime.fromisoformat(sys.argv[2]), progress=lambda done: print(done.dead_letters, flush=True))
"""


@pytest.mark.parametrize("steps", [1, 3])
def test_killed_in_the_middle_the_books_still_add_up(store: DeadLetterStore, steps: int) -> None:
    """The rows and their number go in one transaction: both are done, or neither."""
    _many(store, map(str, range(3000)))
    url = store.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _KILLED, url, BEFORE.isoformat()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for _ in range(steps):
            run.stdout.readline()
        run.kill()

    eventually(lambda: _made(store) == 3000, what="the database has undone what was cut short")
    table = look_at_table(store.engine)
    assert table.pruned >= steps * 500
    prune(store.engine, BEFORE)
    assert (_made(store), rows_of(store)) == (3000, [])
