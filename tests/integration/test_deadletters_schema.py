"""The table's version on real databases: brought up to date, checked, and shipped in the wheel."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import Engine, column, event, inspect, table, text, update

from tests.support.dead_letter_records import a_record, rows_of
from tests.support.processes import ROOT
from worker.database import schema
from worker.database.errors import DeadLetterStoreUnavailable, SchemaMissing, SchemaOutdated, SchemaTooNew
from worker.database.metadata import METADATA
from worker.database.schema import (
    VERSION_TABLE,
    check_schema,
    current_revision,
    downgrade,
    head_revision,
    upgrade,
)
from worker.dead_letters.store import DeadLetterStore
from worker.operations.cli import main
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.databases import DatabaseServer

PROGRAM = [sys.executable, "-m", "worker.operations.cli"]
THIS_VERSION = head_revision()
NEXT_VERSION = f"{int(THIS_VERSION) + 1:04}"


@pytest.fixture
def empty(database_url: str) -> Iterator[DeadLetterStore]:
    """A store over a database without a table."""
    with closing(DeadLetterStore.connect(database_url)) as store:
        store.engine.connect().close()  # an SQLite file comes into being so
        yield store


@pytest.fixture
def store(database_url: str) -> Iterator[DeadLetterStore]:
    """The dead-letter table in a database of its own, which a test may leave in any state."""
    upgrade(database_url)
    with closing(DeadLetterStore.connect(database_url)) as store:
        yield store


def _say_version(store: DeadLetterStore, version: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(update(table(VERSION_TABLE, column("version_num"))).values(version_num=version))


def test_the_versions_are_those_that_alembic_finds() -> None:
    """They are read from the files' names, without Alembic, whose imports are a tenth of a worker's memory."""
    scripts = ScriptDirectory.from_config(schema._config())

    assert schema._known_revisions() == [script.revision for script in scripts.walk_revisions()]


def test_a_worker_does_without_alembic() -> None:
    """Its start checks the version, and upgrades nothing."""
    environment = os.environ | {"AQUILAX_API_KEY": "a-key", "FEEDBACK_DATABASE_URL": "sqlite://"}
    code = "import sys, worker.celery; print('alembic' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False"]


def test_the_migrations_make_the_table_that_the_code_knows(store: DeadLetterStore) -> None:
    """A column in the model and not in a migration, or the other way round, is found here and not in production."""
    assert _differences(store) == []


def _differences(store: DeadLetterStore) -> list[Any]:
    """What Alembic would change to make the model's tables of those in the database."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, METADATA))


def test_an_up_to_date_table_is_accepted(store: DeadLetterStore) -> None:
    """And upgrading it again changes nothing."""
    store.add(a_record())

    upgrade(store.engine.url.render_as_string(hide_password=False))

    check_schema(store.engine)
    assert len(rows_of(store)) == 1


def test_a_database_without_the_table_says_what_to_run(empty: DeadLetterStore) -> None:
    """A worker that finds no table refuses to start, with these words."""
    with pytest.raises(SchemaMissing, match="aquilax-feedback db upgrade"):
        check_schema(empty.engine)
    assert current_revision(empty.engine) is None


def test_a_missing_sqlite_file_is_not_made_by_looking(tmp_path: Path) -> None:
    """In the wrong folder the error names the file that was looked for, and no empty one is left behind."""
    file = tmp_path / "elsewhere.sqlite3"
    with closing(DeadLetterStore.connect(f"sqlite:///{file}")) as store:
        for look in (check_schema, current_revision):
            with pytest.raises(SchemaMissing) as caught:
                look(store.engine)

            assert str(caught.value) == (
                f"there is no file {file}: run `aquilax-feedback db upgrade` to create it, "
                "or set FEEDBACK_DATABASE_URL to where it is"
            )
    assert not file.exists()


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make this process a later release, which has one migration more."""

    def install() -> None:
        migrations = tmp_path / "migrations"
        shutil.copytree(schema._migrations(), migrations)
        (migrations / "versions" / f"{NEXT_VERSION}_next.py").write_text(_NEXT_MIGRATION)
        monkeypatch.setattr(schema, "_migrations", lambda: migrations)

    return install


def test_a_table_from_an_older_release_says_what_to_run(database_url: str, next_release: Callable[[], None]) -> None:
    """The new release was started before its migration, which keeps the rows."""
    upgrade(database_url)
    with closing(DeadLetterStore.connect(database_url)) as store:
        store.add(a_record())
        next_release()
        expected = f"at version {THIS_VERSION}, this release needs {NEXT_VERSION}: run `aquilax-feedback db upgrade`"
        with pytest.raises(SchemaOutdated, match=expected):
            check_schema(store.engine)

        assert upgrade(database_url) == NEXT_VERSION

        check_schema(store.engine)
        assert len(rows_of(store)) == 1


def test_a_table_from_a_newer_release_says_so(store: DeadLetterStore) -> None:
    """The release was rolled back, and the table was not."""
    _say_version(store, "9999")

    with pytest.raises(SchemaTooNew, match="9999"):
        check_schema(store.engine)


def test_the_way_back_leaves_an_empty_database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`db downgrade base` drops every table, and asks first."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", database_url)
    upgrade(database_url)
    with closing(DeadLetterStore.connect(database_url)) as store:
        refused = CliRunner().invoke(main, ["db", "downgrade", "base"], input="n\n")
        assert (refused.exit_code, current_revision(store.engine)) == (1, head_revision())
        assert "drop every dead letter" in refused.output

        dropped = CliRunner().invoke(main, ["db", "downgrade", "base", "--yes"])

        assert (dropped.exit_code, dropped.stdout) == (0, "every table is dropped\n")
        assert inspect(store.engine).get_table_names() == [VERSION_TABLE]
        with pytest.raises(SchemaMissing):
            check_schema(store.engine)


def test_a_migration_that_is_cut_short_anywhere_can_be_run_again(
    database_url: str, next_release: Callable[[], None]
) -> None:
    """Killed after each of its statements by turns, up and down again; at the end the table is the model's."""
    with closing(DeadLetterStore.connect(database_url)) as store, _quick_collection():
        store.engine.connect().close()
        _run_in_pieces(store, lambda: upgrade(database_url))
        check_schema(store.engine)
        assert _differences(store) == []
        store.add(a_record())

        next_release()
        _run_in_pieces(store, lambda: upgrade(database_url))
        assert len(_differences(store)) == 1
        _run_in_pieces(store, lambda: downgrade(database_url, THIS_VERSION))

        assert _differences(store) == []
        assert len(rows_of(store)) == 1

        _run_in_pieces(store, lambda: downgrade(database_url, "base"))
        assert inspect(store.engine).get_table_names() == [VERSION_TABLE]


@contextmanager
def _quick_collection() -> Iterator[None]:
    """Let `gc.collect` look at nothing that is there already: all of it took longer than a migration."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class _Killed(BaseException):
    """As a signal ends a program: nothing catches it."""


def _run_in_pieces(store: DeadLetterStore, migrate: Callable[[], object]) -> None:
    """Run it until it ends, killed after one more statement whenever the run before got no further."""
    statements, before = 1, _everything_in(store)
    while _is_killed_after(statements, migrate):
        now = _everything_in(store)
        statements = statements + 1 if now == before else 1
        before = now


def _is_killed_after(statements: int, migrate: Callable[[], object]) -> bool:
    done = 0

    def count(_1: object, _2: object, statement: str, *_rest: object) -> None:
        nonlocal done
        done += statement.split(maxsplit=1)[0] in {"CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE"}
        if done >= statements:
            raise _Killed

    event.listen(Engine, "after_cursor_execute", count)
    try:
        migrate()
    except _Killed:
        killed = True
    else:
        killed = False
    finally:
        event.remove(Engine, "after_cursor_execute", count)
    gc.collect()  # a killed program leaves no cursor behind that keeps SQLite's lock; an exception's traceback does
    return killed


def _everything_in(store: DeadLetterStore) -> object:
    there = inspect(store.engine)
    tables = there.get_table_names()
    names = [(name, *(column["name"] for column in there.get_columns(name))) for name in tables]
    indices = [(name, *(index["name"] for index in there.get_indexes(name))) for name in tables]
    return names, indices, current_revision(store.engine)


def test_a_newer_table_is_no_traceback_for_an_older_release(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it runs: one sentence, and what to install."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", database_url)
    upgrade(database_url)
    with closing(DeadLetterStore.connect(database_url)) as store:
        _say_version(store, "9999")

    for command_line in ("db upgrade", "db downgrade 0001 --yes", "db check", "dead-letters list", "replays list"):
        ended = CliRunner().invoke(main, command_line.split())
        assert ended.exit_code == 1, command_line
        assert ended.stderr.startswith("Error: the dead-letter table is at version 9999, which is newer than this ")


def test_a_table_is_taken_back_for_an_older_release(
    database_url: str, monkeypatch: pytest.MonkeyPatch, next_release: Callable[[], None]
) -> None:
    """The newer release does it, keeps the rows, and can bring it up to date again."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", database_url)
    next_release()
    upgrade(database_url)
    with closing(DeadLetterStore.connect(database_url)) as store:
        store.add(a_record())

        back = CliRunner().invoke(main, ["db", "downgrade", THIS_VERSION, "--yes"])
        refused = [CliRunner().invoke(main, ["db", "downgrade", version, "--yes"]) for version in (NEXT_VERSION, "7")]

        assert (back.exit_code, back.stdout) == (0, f"the dead-letter table is at version {THIS_VERSION}\n")
        assert [ended.exit_code for ended in refused] == [1, 2]
        assert current_revision(store.engine) == THIS_VERSION
        assert _differences(store) == []
        upgrade(database_url)
        assert len(rows_of(store)) == 1


@pytest.fixture
def mariadb(_mariadb: DatabaseServer) -> DatabaseServer:
    """The server itself, to change what it is set to."""
    return _mariadb


def test_a_binary_log_that_cannot_take_our_transactions_is_named(mariadb_url: str, mariadb: DatabaseServer) -> None:
    """An upgrade and a dead letter say what to set; once it is set the upgrade goes on where it was cut short."""
    with _statement_log(mariadb), pytest.raises(DeadLetterStoreUnavailable, match="set binlog_format=MIXED"):
        upgrade(mariadb_url)
    upgrade(mariadb_url)

    with closing(DeadLetterStore.connect(mariadb_url)) as store:
        assert _differences(store) == []
        with _statement_log(mariadb):
            store.engine.dispose()
            with pytest.raises(DeadLetterStoreUnavailable, match="set binlog_format=MIXED"):
                store.add(a_record())


@contextmanager
def _statement_log(server: DatabaseServer) -> Iterator[None]:
    """Connections that are opened meanwhile have it."""
    server.run("SET GLOBAL binlog_format = STATEMENT")
    try:
        yield
    finally:
        server.run("SET GLOBAL binlog_format = MIXED")


def test_two_upgrades_at_once_both_succeed(database_url: str) -> None:
    """Each replica of a release may bring its own one-shot migration; one waits for the other."""
    environment = os.environ | {"FEEDBACK_DATABASE_URL": database_url}
    runs = [
        subprocess.Popen([*PROGRAM, "db", "upgrade"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]

    ends = [(run.communicate(timeout=60)[0].decode(), run.returncode) for run in runs]

    assert ends == [(f"the dead-letter table is at version {head_revision()}\n", 0)] * 3


@pytest.mark.parametrize(
    "url", ["postgresql://feedback:hunter2@127.0.0.1:{port}/d", "mysql://feedback:hunter2@127.0.0.1:{port}/d"]
)
def test_a_database_that_is_away_is_said_to_be_away_without_its_password(url: str) -> None:
    """Nothing listens there; the caller keeps its event, and no log shows the password."""
    with closing(DeadLetterStore.connect(url.format(port=free_port()))) as store:
        with pytest.raises(DeadLetterStoreUnavailable) as caught:
            store.add(a_record())
        with pytest.raises(DeadLetterStoreUnavailable):
            check_schema(store.engine)

    assert "hunter2" not in str(caught.value)


def test_a_connection_that_the_server_has_cut_is_replaced(postgres_url: str) -> None:
    """After a failover the first event becomes a dead letter like any other."""
    upgrade(postgres_url)
    with closing(DeadLetterStore.connect(postgres_url, pool_size=1)) as store:
        store.add(a_record())
        with closing(DeadLetterStore.connect(postgres_url)) as other, other.engine.begin() as connection:
            connection.execute(text(_CUT_THE_OTHERS))

        store.add(a_record())

        assert len(rows_of(store)) == 2


def test_an_sqlite_file_is_written_ahead_and_to_the_disk(sqlite_url: str) -> None:
    """A row is on the disk before its message is acknowledged, and readers don't hold writers up."""
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store, store.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2


def test_processes_share_an_sqlite_file(sqlite_url: str) -> None:
    """Two workers on one machine write at the same time, and neither is told that the file is locked."""
    upgrade(sqlite_url)
    add = (
        "import sys; from tests.support.dead_letter_records import a_record\n"
        "from worker.dead_letters.store import DeadLetterStore\n"
        "store = DeadLetterStore.connect(sys.argv[1])\n"
        "for _ in range(100): store.add(a_record())\n"
        "store.close()"
    )
    runs = [subprocess.Popen([sys.executable, "-c", add, sqlite_url], cwd=ROOT) for _ in range(3)]

    assert [run.wait(60) for run in runs] == [0, 0, 0]

    with closing(DeadLetterStore.connect(sqlite_url)) as store:
        assert len(rows_of(store)) == 300


def test_the_wheel_brings_its_migrations_along(tmp_path: Path, sqlite_url: str) -> None:
    """An installed release can upgrade a database with no checkout near it."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    installed = tmp_path / "site"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(installed)

    ended = subprocess.run(
        [sys.executable, "-c", _FROM_THE_WHEEL, str(installed), sqlite_url],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert ended.stdout.split() == [str(installed / "worker" / "migrations"), head_revision()]


_NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{NEXT_VERSION}", "{THIS_VERSION}"


def _has_column():
    return any(column["name"] == "later" for column in sa.inspect(op.get_bind()).get_columns("dead_letters"))


def upgrade():
    if not _has_column():
        op.add_column("dead_letters", sa.Column("later", sa.String(8)))


def downgrade():
    if _has_column():
        op.drop_column("dead_letters", "later")
"""

_FROM_THE_WHEEL = """
import sys
import worker.database.schema as schema
print(schema._config().get_main_option("script_location"), schema.upgrade(sys.argv[2]))
"""

_CUT_THE_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
