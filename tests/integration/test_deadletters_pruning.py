"""Pruning, over every database: what is over goes, what is not stays, and the books add up whatever happens."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import func, insert, select, update
from sqlalchemy.event import listen

from tests.support.dead_letter_records import NOON, a_record, add, an_event, row_of, rows_of
from tests.support.processes import ROOT, eventually
from worker.accounting.table_counts import look_at_table
from worker.database.models import DeadLetter, State
from worker.database.replay_models import Replay, ReplayRow, ReplayState, RowState
from worker.database.schema import upgrade
from worker.dead_letters.columns import new_row
from worker.dead_letters.pruning import Pruned, count_prunable, prune
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Iterable

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
BEFORE = datetime.now(UTC) - timedelta(days=90)

_COUNTS = ("total", "elsewhere", "invalid", "canary", "canary_until", "step_number")
_A_PLAN: dict[str, Any] = {"state": ReplayState.FINISHED, "created_at": LONG_AGO}
_A_PLAN |= dict.fromkeys(("selection", "actor", "comment", "stopped_because"), "") | dict.fromkeys(_COUNTS, 0)


def _settled(store: DeadLetterStore, *row_ids: int, state: State = State.DELIVERED, at: datetime = LONG_AGO) -> None:
    with store.engine.begin() as connection:
        values = {"state": state, "resolved_at": at, "failed_at": min(at, LONG_AGO)}
        connection.execute(update(DeadLetter).where(DeadLetter.id.in_(row_ids)).values(values))


def _many(store: DeadLetterStore, messages: Iterable[str]) -> None:
    """Rows that are over, of these messages; '' is one from before there were counts."""
    over = {"state": State.DELIVERED, "resolved_at": LONG_AGO, "failed_at": LONG_AGO}
    with store.engine.begin() as connection:
        connection.execute(insert(DeadLetter), [new_row(a_record(message_id=name)) | over for name in messages])


def _made(store: DeadLetterStore) -> int:
    """What the books say that counted dead letters made, wherever it is now."""
    table = look_at_table(store.engine)
    return table.made + table.pruned


def test_a_dead_letter_is_inserted_between_two_steps(store: DeadLetterStore) -> None:
    """No step takes more than 250 rows, and no transaction is open after one: in SQLite none could be inserted."""
    _many(store, [str(number) for number in range(600)])
    steps: list[int] = []

    def note(done: Pruned) -> None:
        steps.append(done.dead_letters)
        store.add(a_record())

    assert prune(store.engine, BEFORE, progress=note).dead_letters == 600
    assert steps[:3] == [250, 500, 600]
    assert len(rows_of(store)) == len(steps)


def test_sqlite_deletes_a_step_by_its_ids(sqlite_url: str) -> None:
    """And looks for them among all that is over no more: with each step that took a tenth of a second at a million."""
    upgrade(sqlite_url)
    store = DeadLetterStore.connect(sqlite_url)
    _many(store, ["", "counted"])
    found: list[str] = []

    def explain(connection: Any, _: Any, statement: str, parameters: Any, *_more: object) -> None:
        if statement.startswith("DELETE FROM dead_letters "):
            rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in rows)

    listen(store.engine, "before_cursor_execute", explain)
    assert prune(store.engine, BEFORE).dead_letters == 2
    store.close()
    assert set(found) == {"SEARCH dead_letters USING INTEGER PRIMARY KEY (rowid=?)"}


def test_what_has_been_over_for_long_enough_is_pruned(store: DeadLetterStore) -> None:
    """Delivered or discarded, and settled before then."""
    delivered, discarded, lately = (add(store, a_record()) for _ in range(3))
    _settled(store, delivered)
    _settled(store, discarded, state=State.DISCARDED)
    _settled(store, lately, at=BEFORE + timedelta(seconds=1))

    assert count_prunable(store.engine, BEFORE) == Pruned(dead_letters=2)
    assert prune(store.engine, BEFORE) == Pruned(dead_letters=2)
    assert [row.id for row in rows_of(store)] == [lately]
    assert prune(store.engine, BEFORE) == Pruned()


def test_what_is_not_over_is_never_pruned(store: DeadLetterStore) -> None:
    """However old it is: it waits for an operator."""
    dead, replaying = (add(store, a_record(failed_at=NOON - timedelta(days=3650))) for _ in range(2))
    with store.engine.begin() as connection:
        # As one is that had an outcome before, and was replayed since.
        values = {"state": State.REPLAYING, "resolved_at": LONG_AGO}
        connection.execute(update(DeadLetter).where(DeadLetter.id == replaying).values(values))

    assert prune(store.engine, datetime.now(UTC)) == Pruned()
    assert [row.id for row in rows_of(store)] == [dead, replaying]


def test_what_was_pruned_is_not_missed(store: DeadLetterStore) -> None:
    """The books count it; rows from before there were counts are in no book."""
    _many(store, ["tag-1", "tag-2", "", ""])
    add(store, a_record(message_id="tag-3"))
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

    assert prune(store.engine, BEFORE, stop=stop, progress=progress) == Pruned(dead_letters=500)
    assert (steps, _made(store)) == ([250, 500], 1200)
    assert prune(store.engine, BEFORE) == Pruned(dead_letters=700)
    assert (_made(store), rows_of(store)) == (1200, [])


def _plan(store: DeadLetterStore, *, rows: int, **times: Any) -> int:
    """A plan as it is in the table, with so many rows."""
    with store.engine.begin() as connection:
        values = _A_PLAN | {"name": uuid4().hex, "total": rows} | times
        key = connection.execute(insert(Replay).values(values)).inserted_primary_key
        assert key is not None
        plan: int = key[0]
        if rows:
            row = {"replay_id": plan, "state": RowState.DELIVERED, "was": State.DEAD, "fingerprint": "c", "comment": ""}
            connection.execute(insert(ReplayRow), [row | {"dead_letter_id": n, "position": n} for n in range(rows)])
    return plan


def _left(store: DeadLetterStore) -> dict[int, int]:
    """How many rows each plan that is left has; 0 stands for no plan that has rows."""
    with store.engine.connect() as connection:
        plans = connection.scalars(select(Replay.id)).all()
        counts = select(ReplayRow.replay_id, func.count()).group_by(ReplayRow.replay_id)
        return dict.fromkeys(plans, 0) | {row[0]: row[1] for row in connection.execute(counts)}


def test_a_replay_that_is_over_is_pruned_with_its_rows(store: DeadLetterStore) -> None:
    """One that runs stays however old it is, and so does one that was ended and still waits for an outcome."""
    over = _plan(store, rows=3, ended_at=LONG_AGO, closed_at=LONG_AGO)
    empty = _plan(store, rows=0, ended_at=LONG_AGO, closed_at=LONG_AGO)
    lately = _plan(store, rows=2, ended_at=LONG_AGO, closed_at=BEFORE + timedelta(seconds=1))
    waits = _plan(store, rows=2, ended_at=LONG_AGO, state=ReplayState.CANCELLED)
    runs = _plan(store, rows=2, state=ReplayState.RUNNING)
    assert set(_left(store)) == {over, empty, lately, waits, runs}

    assert count_prunable(store.engine, BEFORE) == Pruned(replays=2)
    assert prune(store.engine, BEFORE) == Pruned(replays=2)
    assert _left(store) == {lately: 2, waits: 2, runs: 2}
    assert prune(store.engine, BEFORE) == Pruned()


def test_a_large_replay_goes_in_steps_that_can_be_stopped(store: DeadLetterStore) -> None:
    """The next run finds what is left of it, and two at once do no more than one."""
    plan = _plan(store, rows=1200, ended_at=LONG_AGO, closed_at=LONG_AGO)
    stop, steps = Event(), list[int]()

    def progress(_done: Pruned) -> None:
        steps.append(_left(store)[plan])
        if steps[-1] == 700:
            stop.set()

    assert prune(store.engine, BEFORE, stop=stop, progress=progress) == Pruned()
    assert steps[-1] == 700
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(prune, store.engine, BEFORE) for _ in range(2)]
        pruned = [run.result().replays for run in runs]
    assert (sum(pruned), _left(store)) == (1, {})


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
    row_id = add(store, a_record(event, first_enqueued_at=NOON))
    _settled(store, row_id, state=State.DISCARDED)
    died_again: list[bool] = []

    def die_again(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE") and not died_again:
            died_again.append(True)
            store.add(a_record(event, first_enqueued_at=datetime.now(UTC)))

    listen(store.engine, "before_cursor_execute", die_again)

    assert prune(store.engine, BEFORE) == Pruned()
    assert died_again
    assert row_of(store, row_id).state is State.DEAD


_KILLED = """
import sys
from datetime import datetime
from worker.dead_letters.store import DeadLetterStore
from worker.dead_letters.pruning import prune
store = DeadLetterStore.connect(sys.argv[1])
prune(store.engine, datetime.fromisoformat(sys.argv[2]), progress=lambda done: print(done.dead_letters, flush=True))
"""


def test_killed_in_the_middle_the_books_still_add_up(store: DeadLetterStore) -> None:
    """The rows and their number go in one transaction: both are done, or neither."""
    _many(store, map(str, range(3000)))
    steps = 2
    url = store.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", _KILLED, url, BEFORE.isoformat()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        for _ in range(steps):
            run.stdout.readline()
        run.kill()

    eventually(lambda: _made(store) == 3000, what="the database has undone what was cut short")
    table = look_at_table(store.engine)
    assert table.pruned >= steps * 250
    prune(store.engine, BEFORE)
    assert (_made(store), rows_of(store)) == (3000, [])
