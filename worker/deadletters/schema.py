"""The table's version: brought up to date by Alembic, and checked by every program before it relies on it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

import worker
from worker.deadletters.engine import connect, missing_file
from worker.deadletters.errors import SchemaMissing, SchemaOutdated, SchemaTooNew, translated

__all__ = ["VERSION_TABLE", "check_schema", "current_revision", "head_revision", "upgrade"]

VERSION_TABLE: Final = "dead_letters_version"
"""Where the version is kept. Not Alembic's default name: a chat backend may keep its own tables in this database."""

_LOCK: Final = "aquilax-feedback db upgrade"
_LOCK_NUMBER: Final = int.from_bytes(b"aquilax", "big")
_LOCK_SECONDS: Final = 300
"""How long an upgrade waits for another one: the replicas of a release start at the same moment."""


def check_schema(engine: Engine) -> None:
    """Make sure that the table is the one that this release knows. A database that is not there is not made.

    Raises:
        SchemaMissing: There is none, or not even the SQLite file that it would be in.
        SchemaOutdated: It is older.
        SchemaTooNew: It is newer.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    current = current_revision(engine)
    scripts = ScriptDirectory.from_config(_config())
    if current is None:
        raise SchemaMissing("the database has no dead-letter table: run `aquilax-feedback db upgrade`")
    if current == scripts.get_current_head():
        return
    if current in {script.revision for script in scripts.walk_revisions()}:
        raise SchemaOutdated(
            f"the dead-letter table is at version {current}, this release needs {scripts.get_current_head()}: "
            "run `aquilax-feedback db upgrade`"
        )
    raise SchemaTooNew(
        f"the dead-letter table is at version {current}, which is newer than this release: install the release that "
        "last ran `aquilax-feedback db upgrade`"
    )


def current_revision(engine: Engine) -> str | None:
    """Return the version of the table, or None if there is none.

    Raises:
        SchemaMissing: There is not even the SQLite file that it would be in.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    if (file := missing_file(engine)) is not None:
        raise SchemaMissing(
            f"there is no file {file}: run `aquilax-feedback db upgrade` to create it, "
            "or set FEEDBACK_DATABASE_URL to where it is"
        )
    with translated(), engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        return context.get_current_revision()


def head_revision() -> str:
    """Return the version that this release needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None, "the migrations are shipped with the package"  # noqa: S101 - a broken build, not an input
    return head


def upgrade(url: str) -> str:
    """Bring the database to the version that this release needs, and return that version.

    Running it again changes nothing; running it twice at once makes one wait for the other.

    Args:
        url: The database, as `connect` takes it.

    Raises:
        DatabaseUnusable: The URL can't be read, or its driver is not installed.
        DeadLetterStoreUnavailable: The database did not do it.
    """
    engine = connect(url, pool_size=1)
    try:
        with translated():
            with engine.connect() as connection:
                _prepare(connection)
            with engine.begin() as connection:
                _lock(connection)
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        engine.dispose()
    return head_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.attributes["version_table"] = VERSION_TABLE
    return config


def _migrations() -> Path:
    """The wheel carries the migrations inside `worker`; a checkout has them beside it."""
    package = Path(worker.__file__).parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent / "migrations"


def _prepare(connection: Connection) -> None:
    """Give an SQLite file its write-ahead log, under which readers and one writer don't wait for each other."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_LOCK_SECONDS * 1000}")
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def _lock(connection: Connection) -> None:
    """Wait for any other upgrade to end."""
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        case "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_NUMBER})
        case "mysql" | "mariadb":
            # Held until this connection closes, which `upgrade` sees to: DDL commits, so no transaction can hold it.
            connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), {"name": _LOCK, "seconds": _LOCK_SECONDS})
