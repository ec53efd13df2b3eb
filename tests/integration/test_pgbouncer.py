"""The dead-letter table behind PgBouncer in transaction mode, with PgBouncer's defaults."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from sqlalchemy import text, update

from tests.support.databases import pgbouncer
from tests.support.dead_letter_records import a_record, add, an_event, row_of, rows_of
from worker.database import engine as engines
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.models import DeadLetter, State
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore
from worker.operations.cli import main
from worker.operations.doctor.database import look_at_database
from worker.operations.doctor.finding import Level

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pooled(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """A table behind PgBouncer, made through it, on a server whose own zone is far east of UTC."""
    with closing(DeadLetterStore.connect(postgres_url)) as store, store.engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {store.engine.url.database} SET timezone = 'Asia/Tokyo'"))
    with pgbouncer(postgres_url, tmp_path / "pgbouncer.log") as url:
        upgrade(url)
        yield url


def test_dead_letters_are_written_through_pgbouncer_by_many_at_once(pooled: str) -> None:
    """No startup option is refused, and no prepared statement is looked for in another session."""
    with closing(DeadLetterStore.connect(pooled)) as store, ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: store.add(a_record(event=an_event())), range(200)))

        assert made == [True] * 200
        assert len(rows_of(store)) == 200
    assert {finding.level for finding in look_at_database(pooled)} <= {Level.GREEN, Level.YELLOW}


def test_commands_work_through_pgbouncer(pooled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The migrations' lock is the transaction's, and a replay's rows are locked within one."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", pooled)
    with closing(DeadLetterStore.connect(pooled)) as store:
        add(store, a_record())

    for command in (
        "db upgrade",
        "db check",
        "dead-letters list --group-by fingerprint",
        "dead-letters discard --comment x --yes",
    ):
        ended = CliRunner().invoke(main, command.split())
        assert ended.exit_code == 0, ended.output


def test_nothing_is_left_in_the_session(pooled: str) -> None:
    """A transaction has its time limit for locks, and the session that it was in has the server's own."""
    with closing(DeadLetterStore.connect(pooled)) as store:
        with store.engine.connect() as connection:
            in_a_transaction = connection.scalar(text("SHOW lock_timeout"))
            prepared = connection.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
        with closing(store.engine.raw_connection()) as driver, closing(driver.cursor()) as cursor:
            cursor.execute("SHOW lock_timeout")
            (in_the_session,) = cursor.fetchall()[0]

    assert (in_a_transaction, in_the_session, prepared) == ("10s", "0", 0)


def test_a_locked_row_is_waited_for_within_a_limit(pooled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten transaction holds a row: the event waits, and the worker does not."""
    monkeypatch.setattr(engines, "_LOCK_SECONDS", 1)
    with closing(DeadLetterStore.connect(pooled)) as store:
        record = a_record()
        row_id = add(store, record)
        with store.engine.begin() as forgotten:
            forgotten.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(comment="mine"))
            with pytest.raises(DeadLetterStoreUnavailable, match="lock timeout"):
                store.add(record)


def test_times_are_read_in_any_zone_to_the_last_microsecond(pooled: str) -> None:
    """What a session's zone is, is left to the server."""
    last = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    moments = [last, last - timedelta(hours=10), datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
    with closing(DeadLetterStore.connect(pooled)) as store:
        ids = [add(store, a_record(event=an_event(occurred_at=moment))) for moment in moments]

        assert [row_of(store, row_id).occurred_at for row_id in ids] == moments
        assert {row.state for row in rows_of(store)} == {State.DEAD}


def test_what_an_operators_queries_are_told_ends_with_each(pooled: str) -> None:
    """A session that is another one's next has neither their limit nor what plans them."""
    told = text(
        "SELECT current_setting('random_page_cost'), current_setting('jit'), current_setting('statement_timeout'),"
        " current_setting('max_parallel_workers_per_gather')"
    )
    operators, workers = engines.connect(pooled, looking=True, statement_seconds=3), engines.connect(pooled)
    with operators.connect() as connection:
        assert tuple(connection.execute(told).one()) == ("1.1", "off", "3s", "0")
        session = connection.scalar(text("SELECT pg_backend_pid()"))
    with workers.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) == session
        cost, _, limit, processes = connection.execute(told).one()
        assert (cost, limit, processes) == ("4", "0", "2")
    operators.dispose()
    workers.dispose()
