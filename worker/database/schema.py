"""The table's version: brought up to date by Alembic, and checked by every program before it relies on it.

The check does without Alembic: with what it imports it would be a tenth of a worker's memory.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

import worker
from worker.database.engine import connect, missing_file
from worker.database.errors import DeadLetterStoreUnavailable, SchemaMissing, SchemaOutdated, SchemaTooNew, translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config

__all__ = [
    "BASE",
    "VERSION_TABLE",
    "check_schema",
    "checked_engine",
    "current_revision",
    "downgrade",
    "head_revision",
    "upgrade",
]

VERSION_TABLE: Final = "dead_letters_version"
"""Where the version is kept. Not Alembic's default name: a chat backend may keep its own tables in this database."""

BASE: Final = "base"
"""The version before the first: a database without our tables."""

_LOCK: Final = "aquilax-feedback db upgrade"
_LOCK_NUMBER: Final = int.from_bytes(b"aquilax", "big")
_LOCK_SECONDS: Final = 300
"""How long an upgrade waits for another one: the replicas of a release start at the same moment."""

_MIGRATION_SECONDS: Final = 24 * 3600
"""How long one statement of a migration may take: an index on many rows is made in minutes, and a connection that is
given up meanwhile leaves half a migration behind."""


def check_schema(engine: Engine) -> None:
    """Make sure that the table is the one that this release knows. A database that is not there is not made.

    Raises:
        SchemaMissing: There is none, or not even the SQLite file that it would be in.
        SchemaOutdated: It is older.
        SchemaTooNew: It is newer.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    current, fix = current_revision(engine), "run `aquilax-feedback db upgrade`"
    if current is None:
        raise SchemaMissing(f"the database has no dead-letter table: {fix}")
    _refuse_newer(current)
    if current != (head := head_revision()):
        raise SchemaOutdated(f"the dead-letter table is at version {current}, this release needs {head}: {fix}")


@contextmanager
def checked_engine(url: str) -> Iterator[Engine]:
    """Open the database for one thread, and check its schema; raises as `check_schema`, and `DatabaseUnusable`."""
    with _engine_for(url, looking=True) as engine:
        check_schema(engine)
        yield engine


def _refuse_newer(current: str | None) -> None:
    """Refuse a version that this release does not know."""
    if current is not None and current not in _known_revisions():
        raise SchemaTooNew(
            f"the dead-letter table is at version {current}, which is newer than this release: install the release "
            "that last ran `aquilax-feedback db upgrade`; that one can take it back (`aquilax-feedback db downgrade`)"
        )


def _known_revisions() -> list[str]:
    """The versions that this release knows, the latest first: the name of each migration's file begins with its own."""
    files = (_migrations() / "versions").glob("[0-9]*_*.py")
    return sorted((file.name.partition("_")[0] for file in files), reverse=True)


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
        return _revision(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))


def head_revision() -> str:
    """Return the version that this release needs."""
    return _known_revisions()[0]


def upgrade(url: str) -> str:
    """Bring the database of a URL to the version that this release needs, and return that version.

    Running it again changes nothing, and goes on where a run before was cut short; of two at once one waits.

    Raises:
        DatabaseUnusable: The URL can't be read, or its driver is not installed.
        SchemaTooNew: The table is newer than this release.
        DeadLetterStoreUnavailable: The database did not do it.
    """
    _migrate(url, "upgrade", "head")
    return head_revision()


def downgrade(url: str, version: str) -> None:
    """Take the database back to an older release's version. What only later versions have is dropped.

    Args:
        url: The database, as `connect` takes it.
        version: One that this release knows, up to the one that the table is at; or `BASE`, which has no table.

    Raises:
        SchemaTooNew: The table is newer than this release.
        SchemaOutdated: The table is older than that version.
        SchemaMissing: There is no table.
        ValueError: This release does not know that version.
        DatabaseUnusable, DeadLetterStoreUnavailable: See `upgrade`.
    """
    if version not in (known := [*_known_revisions(), BASE]):
        raise ValueError(f"{version!r} is no version of the dead-letter table: expected one of {', '.join(known)}")
    with _engine_for(url, answer_seconds=_MIGRATION_SECONDS) as engine:
        current = current_revision(engine)
    if current is None:
        raise SchemaMissing("the database has no dead-letter table, so there is nothing to take back")
    _refuse_newer(current)
    if known.index(current) > known.index(version):
        raise SchemaOutdated(f"the dead-letter table is at version {current}, which is older than {version} already")
    _migrate(url, "downgrade", version)


@contextmanager
def _engine_for(url: str, **options: Any) -> Iterator[Engine]:
    engine = connect(url, pool_size=1, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def _migrate(url: str, direction: Literal["upgrade", "downgrade"], version: str) -> None:
    from alembic import command  # noqa: PLC0415 - see this module's docstring

    with _engine_for(url, answer_seconds=_MIGRATION_SECONDS) as engine, translated():
        if (file := missing_file(engine)) is not None:
            _create_private(file)
        with engine.connect() as connection:
            _prepare(connection)
        with engine.begin() as connection:
            _lock(connection)
            _refuse_newer(_revision(connection))
            config = _config()
            config.attributes["connection"] = connection
            getattr(command, direction)(config, version)


def _create_private(file: Path) -> None:
    """Make an SQLite file that others can't read: SQLite gives it, and what stands beside it, the rights it has."""
    with suppress(OSError):  # SQLite says the same, in the words of a database that can't be opened
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o660))


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see this module's docstring

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
            lock = {"name": _LOCK, "seconds": _LOCK_SECONDS}
            if not connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), lock):
                raise DeadLetterStoreUnavailable(f"another `db upgrade` has not ended within {_LOCK_SECONDS} s")
