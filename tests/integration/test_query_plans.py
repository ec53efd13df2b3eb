"""What operators look at is found in an index, and no row is read for it: at a million that is seconds, or none."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, select

from tests.support.dead_letters import fill
from worker.accounting.table_counts import count_by_state
from worker.database.engine import connect
from worker.database.models import DeadLetter, State
from worker.database.schema import upgrade
from worker.dead_letters.causes import causes_over_time
from worker.dead_letters.new_causes import new_causes
from worker.dead_letters.pagination import Order, page_of
from worker.dead_letters.queries import count
from worker.dead_letters.replays.lifecycle import cancel
from worker.dead_letters.replays.planning import create, preview
from worker.dead_letters.replays.queries import rows
from worker.dead_letters.selection import Selection, replayable
from worker.dead_letters.statistics import shares, summaries_of
from worker.dead_letters.store import DeadLetterStore
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

DEAD = (State.DEAD,)
NOW = datetime.now(UTC)
ORG, GROUP = "65dd3e835a669e3347654203", "67e86d036e9921509f730403"
SELECTIONS = {
    "the dead": Selection(states=DEAD),
    "any state": Selection(states=tuple(State)),
    "an org": Selection(states=DEAD, orgs=(ORG,)),
    "an org, any state": Selection(states=tuple(State), orgs=(ORG,)),
    "two orgs": Selection(states=DEAD, orgs=(ORG, "65dd3e835a669e3347654204")),
    "a group": Selection(states=DEAD, groups=(GROUP,)),
    "no such group": Selection(states=DEAD, groups=("unknown",)),
    "an HTTP status": Selection(states=DEAD, reasons=tuple(Reason), http_statuses=(400,)),
    "a reason": Selection(states=DEAD, reasons=(Reason.EXHAUSTED,)),
    "since 5 days": Selection(states=DEAD, since=NOW - timedelta(days=5)),
    "until 5 days ago": Selection(states=DEAD, until=NOW - timedelta(days=5)),
    "of one org in a time": Selection(states=DEAD, orgs=(ORG,), since=NOW - timedelta(days=3)),
}
LOOKS: dict[str, Callable[[Engine, Selection], object]] = {
    "causes": lambda engine, selection: causes_over_time(engine, selection, few=0),
    "a count": lambda engine, selection: count(engine, selection.clause()),
    "a bounded count": lambda engine, selection: count(engine, selection.clause(), most=10),
    "shares": lambda engine, selection: shares(engine, replayable(selection)),
    "a preview": preview,
    "sorted rows": lambda engine, selection: page_of(engine, selection.clause(), size=5, near=1),
    "rows by attempts": lambda engine, selection: page_of(engine, selection.clause(), size=5, order=Order.ATTEMPTS),
}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An SQLite file with rows of all kinds."""
    url = f"sqlite:///{tmp_path_factory.mktemp('plans')}/dead-letters.sqlite3"
    upgrade(url)
    store = DeadLetterStore.connect(url)
    fill(store, 300, last_at=NOW)
    yield store.engine
    store.close()


@contextmanager
def _explained(engine: Engine, explain: str) -> Iterator[list[str]]:
    """Yield what the database says of how it carries out each statement."""
    plans: list[str] = []

    def note(connection: Any, _: Any, statement: str, parameters: Any, *_more: object) -> None:
        if statement.startswith(("SELECT", "WITH")):
            cursor = connection.connection.cursor()
            plans.extend(str(row[-1]) for row in cursor.execute(f"{explain} {statement}", parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield plans
    finally:
        event.remove(engine, "before_cursor_execute", note)


_BY_ID = "INTEGER PRIMARY KEY (rowid=?)"
_LINE = "INDEX ix_dead_letters_statistics (fingerprint>? AND fingerprint<?)"
"""The text of a cause is in no index: it is read from one row of each."""
_NEAR = "INDEX ix_dead_letters_failed_at (failed_at>?)"
"""Those few rows that come next in a list's order are looked at before any others are searched."""


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("which", SELECTIONS)
def test_sqlite_looks_into_one_index_and_reads_no_row(sqlite: Engine, which: str, look: str) -> None:
    """But for the rows that are shown."""
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        LOOKS[look](sqlite, SELECTIONS[which])
    ours = [plan for plan in plans if "dead_letters" in plan]
    assert ours
    read = {plan.partition(" USING ")[2] or plan for plan in ours if "COVERING INDEX" not in plan}
    assert read <= {_BY_ID, _LINE, _NEAR}


def test_sqlite_walks_in_the_order_of_an_index_where_many_fit(sqlite: Engine) -> None:
    """And no further than among the nearest rows."""
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        page_of(sqlite, Selection(states=DEAD).clause(), size=5, near=100)
    assert any("USING INDEX ix_dead_letters_failed_at (failed_at>?)" in plan for plan in plans)
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_sqlite_finds_what_a_request_id_died_of_by_it(sqlite: Engine) -> None:
    """And searches no cause for it: at a million that took seconds."""
    with sqlite.connect() as connection:
        request_id = connection.scalar(select(DeadLetter.request_id).where(DeadLetter.state == State.DEAD).limit(1))
    assert request_id is not None
    selection = Selection(states=DEAD, request_ids=(request_id,))
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        found = causes_over_time(sqlite, selection)
        total = count(sqlite, selection.clause())
    assert found.rows == total == 1
    assert {plan for plan in plans if "dead_letters" in plan} == {
        "SEARCH dead_letters USING INDEX ix_dead_letters_request_id (request_id=?)",
        f"SEARCH dead_letters USING {_BY_ID}",
    }


def test_sqlite_previews_a_cause_among_its_own_rows(sqlite: Engine) -> None:
    """Also while another replay goes on."""
    cause = causes_over_time(sqlite, Selection(states=DEAD)).causes[-1].fingerprint
    other = create(sqlite, Selection(states=DEAD, orgs=(ORG,)), actor="operator")
    for others in (True, False):
        with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
            seen = preview(sqlite, Selection(states=DEAD, fingerprints=(cause,)))
        if others:
            cancel(sqlite, other.id, actor="operator")
        assert seen.rows
        assert not [plan for plan in plans if plan.startswith("SCAN dead_letters")]


def test_sqlite_counts_an_org_among_its_own_rows(sqlite: Engine) -> None:
    """The entries of the others are passed over."""
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        causes_over_time(sqlite, SELECTIONS["an org"], few=0)
    counted = [plan for plan in plans if "failed_at>? AND failed_at<?" in plan]
    assert counted
    assert all("ix_dead_letters_org (org=? AND state=? AND fingerprint=? AND" in plan for plan in counted)


def test_states_are_counted_without_grouping(sqlite: Engine) -> None:
    """Each is one range of an index."""
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        states = count_by_state(sqlite)
    assert sum(states.values()) == 300
    assert set(states) == set(State)
    assert {plan for plan in plans if "dead_letters" in plan} == {
        "SEARCH dead_letters USING COVERING INDEX ix_dead_letters_state (state=?)"
    }


def test_sqlite_finds_new_causes_by_steps_into_an_index(sqlite: Engine) -> None:
    """Workers look every ten seconds, however many rows there are; the text of each new one is read from a row."""
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        found = new_causes(sqlite, NOW - timedelta(days=6))
    ours = [plan for plan in plans if "dead_letters" in plan]
    assert found
    assert {plan.partition(" USING ")[2] or plan for plan in ours if "COVERING INDEX" not in plan} == {_LINE}
    assert not [plan for plan in ours if plan.startswith("SCAN dead_letters USING COVERING")]


def test_sqlite_finds_a_page_of_a_replay_in_its_index(sqlite: Engine) -> None:
    """The next rows of each state, and not all of them to be sorted."""
    plan = create(sqlite, Selection(states=DEAD), actor="operator")
    with _explained(sqlite, "EXPLAIN QUERY PLAN") as plans:
        found = rows(sqlite, plan.id, after=9, limit=5)
    cancel(sqlite, plan.id, actor="operator")
    assert [row.position for row in found] == [10, 11, 12, 13, 14]
    assert {each.partition(" USING ")[2] for each in plans if "replay_rows" in each} == {
        "INDEX ix_replay_rows_state (replay_id=? AND state=? AND position>?)",
        "INDEX sqlite_autoindex_replay_rows_1 (replay_id=? AND dead_letter_id=?)",
    }


@pytest.fixture(scope="module")
def postgres(_postgres: Any) -> Iterator[Engine]:
    """A PostgreSQL that knows rows of all kinds, so many that to read all of them is dear."""
    with _postgres.fresh() as url:
        upgrade(url)
        store = DeadLetterStore.connect(url)
        fill(store, 20_000, last_at=NOW)
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("CHECKPOINT")  # what is not on the disk yet, VACUUM does not take for visible
            connection.exec_driver_sql("VACUUM (ANALYZE) dead_letters")
        store.close()
        engine = connect(url, looking=True)
        yield engine
        engine.dispose()


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("which", SELECTIONS)
def test_postgresql_looks_into_indices_and_reads_not_all_rows(postgres: Engine, which: str, look: str) -> None:
    """By its defaults it would read the table one row after the other for many of them."""
    with _explained(postgres, "EXPLAIN") as plans:
        LOOKS[look](postgres, SELECTIONS[which])
    assert any("on dead_letters" in plan for plan in plans)
    assert not [plan for plan in plans if "Seq Scan on dead_letters" in plan]


def test_postgresql_finds_new_causes_by_steps_into_an_index(postgres: Engine) -> None:
    """As SQLite does."""
    with _explained(postgres, "EXPLAIN") as plans:
        found = new_causes(postgres, NOW - timedelta(days=6))
    assert found
    assert any("Index Only Scan using ix_dead_letters_statistics on dead_letters" in plan for plan in plans)
    assert not [plan for plan in plans if "Seq Scan on dead_letters" in plan]


def test_postgresql_finds_the_text_of_a_cause_among_its_own_rows(postgres: Engine) -> None:
    """Not among all rows in the order of their times, where those of a cause that began late come last."""
    fingerprints = {row.fingerprint for row in causes_over_time(postgres, Selection()).causes}
    with postgres.connect() as connection, _explained(postgres, "EXPLAIN") as plans:
        lines = summaries_of(connection, fingerprints)
    assert set(lines) == fingerprints
    assert {plan.partition(" using ")[2].split(" ")[0] for plan in plans if " using " in plan} == {
        "ix_dead_letters_statistics"
    }
