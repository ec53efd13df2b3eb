"""From a database URL to an engine that neither hangs nor hands out a dead connection.

A PostgreSQL connection relies on nothing that a session keeps: behind PgBouncer in transaction mode each transaction
may be another session's, in which a startup option, a SET or a prepared statement of the one before is not there. So
what a transaction needs is said as it begins.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event, exc, make_url

from worker.database.errors import DatabaseUnusable
from worker.database.url_options import check_options

if TYPE_CHECKING:
    import sqlite3

    import psycopg
    from psycopg.abc import Buffer
    from sqlalchemy import Connection

__all__ = ["connect", "missing_file", "shown"]

_DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The driver that a URL without one means, as the extras install it. ``postgres`` is what many hosts hand out."""

_EXTRAS: Final = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

_MASK: Final = "***"

_CONNECT_SECONDS: Final = 5
_POOL_SECONDS: Final = 5
_LOCK_SECONDS: Final = 10
_ANSWER_SECONDS: Final = 30

_ISOLATION: Final = {"postgresql": "AUTOCOMMIT", "mysql": "READ COMMITTED", "mariadb": "READ COMMITTED"}
"""psycopg would send a BEGIN of its own, and what a transaction needs after it, in two round trips: see `_BEGIN`."""

_BEGIN: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"

_LOOKING: Final = (
    "; SET LOCAL random_page_cost = 1.1; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
)
"""An index-only scan of a million entries takes a fraction of reading as many rows one after the other, also from a
disk, as it reads the pages of the index and no other. By its defaults, which are those of disks that turn, PostgreSQL
takes both for the same. To compile a query takes longer than most of them do; so does starting processes for it, and on
two cores they hold each other up: an operator's look takes one core, and leaves the others to what workers write."""

_MYSQL_ARGS: Final = {"connect_timeout": _CONNECT_SECONDS, "charset": "utf8mb4"}
_CONNECT_ARGS: Final[dict[str, dict[str, Any]]] = {
    "sqlite": {"timeout": _LOCK_SECONDS},
    "postgresql": {
        "connect_timeout": _CONNECT_SECONDS,
        "prepare_threshold": None,  # a prepared statement stays in a session that may be another one's next
        # A server whose machine vanished is noticed in this time, and not after Linux's two hours.
        "keepalives_idle": _ANSWER_SECONDS // 3,
        "keepalives_interval": _ANSWER_SECONDS // 6,
        "keepalives_count": 4,
        "tcp_user_timeout": _ANSWER_SECONDS * 1000,
    },
    "mysql": _MYSQL_ARGS,
    "mariadb": _MYSQL_ARGS,
}

_YEAR_AFTER_THE_LAST: Final = "10000-01-01 "


def connect(
    url: str,
    *,
    pool_size: int = 5,
    answer_seconds: int = _ANSWER_SECONDS,
    looking: bool = False,
    statement_seconds: int | None = None,
    setting: str = "FEEDBACK_DATABASE_URL",
) -> Engine:
    """Return an engine for a database URL; it connects when it is first used.

    Args:
        url: Any SQLAlchemy URL of SQLite, PostgreSQL, MySQL or MariaDB; the driver may be left out.
        pool_size: Connections kept open. As many again may be opened for a rush.
        answer_seconds: How long MySQL and MariaDB may take for one statement.
        looking: Whether most of its queries count, or look for few rows among many, as those of operators do.
        statement_seconds: How long PostgreSQL may take for one statement; as the server has it if None.
        setting: The name of the setting that has the URL, for errors.

    Raises:
        DatabaseUnusable: The URL can't be read, or an option of it, or its driver is not installed.
    """
    address = _with_driver(url, setting)
    backend = address.get_backend_name()
    options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": _POOL_SECONDS}
    if backend in _ISOLATION:
        options |= {"pool_pre_ping": True, "isolation_level": _ISOLATION[backend]}
    engine = _create(address, setting, connect_args=_connect_args(backend, address, answer_seconds), **options)
    if backend == "sqlite":
        event.listen(engine, "connect", _durable)
    if backend == "postgresql":
        limit = f"; SET LOCAL statement_timeout = '{statement_seconds}s'" if statement_seconds else ""
        event.listen(engine, "begin", partial(_say_begin, _BEGIN + (_LOOKING if looking else "") + limit))
        event.listen(engine, "connect", _read_times)
    return engine


def _create(address: URL, setting: str, **options: Any) -> Engine:
    try:
        check_options(address, setting)
        return create_engine(address, hide_parameters=True, **options)  # a response belongs in no traceback
    except ModuleNotFoundError as error:
        raise DatabaseUnusable(_missing(address.get_backend_name(), error.name, setting)) from None
    except (exc.NoSuchModuleError, exc.ArgumentError, TypeError):
        raise DatabaseUnusable(
            f"{setting}: {address.drivername} is no database that this can use: "
            "expected sqlite, postgresql, mysql or mariadb, as a file or a server"
        ) from None


def missing_file(engine: Engine) -> Path | None:
    """Return the SQLite file of an engine if it is not there; to connect would make an empty one."""
    file = engine.url.database
    if engine.dialect.name != "sqlite" or file is None or file.startswith("file:"):  # a URI's own mode decides
        return None
    path = Path(file).absolute()
    return None if path.exists() else path


def shown(url: str) -> str:
    """Return a database URL as a message may show it: without its password, or its options, which may hold one.

    A user without a password may be a password that was written in the wrong place.
    """
    address = make_url(url).set(query={})
    if address.username and address.password is None:
        address = address.set(username=_MASK)
    return address.render_as_string(hide_password=True).replace(f"{quote(_MASK)}@", f"{_MASK}@")


def _with_driver(url: str, setting: str) -> URL:
    try:
        address = make_url(url)
    except exc.ArgumentError:
        raise DatabaseUnusable(f"{setting} can't be read as an SQLAlchemy URL") from None
    address = address.set(drivername=_DRIVERS.get(address.drivername, address.drivername))
    usual = _DRIVERS.get(address.get_backend_name(), address.drivername)
    if address.drivername != usual:
        raise DatabaseUnusable(
            f"{setting} names the driver {address.drivername}, and this release knows {usual}: "
            f"leave the driver out ({address.get_backend_name()}://…)"
        )
    return address


def _missing(backend: str, module: str | None, setting: str) -> str:
    extra = _EXTRAS.get(backend)
    fix = f": pip install 'aquilax-feedback[{extra}]'" if extra else ""
    return f"{setting} is for {backend}, whose driver {module} is not installed{fix}"


def _connect_args(backend: str, address: URL, answer_seconds: int) -> dict[str, Any]:
    """What the driver is told; what the URL's query says already is left as it is."""
    wanted = _CONNECT_ARGS.get(backend, {})
    if wanted is _MYSQL_ARGS:
        wanted = wanted | {"read_timeout": answer_seconds, "write_timeout": answer_seconds}
    return {name: value for name, value in wanted.items() if name not in address.query}


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    """Each commit is on the disk when it returns: only then may the message be acknowledged.

    The write-ahead log, under which readers and one writer don't wait for each other, is a property of the file that
    `upgrade` sets once.
    """
    connection.execute("PRAGMA synchronous = FULL")


def _say_begin(begin: str, connection: Connection) -> None:
    if "isolation_level" in connection.get_execution_options():
        return  # for these connections psycopg says it, in the level that was asked for
    connection.exec_driver_sql(begin)


def _read_times(connection: psycopg.Connection, _record: object) -> None:
    """Read times whatever the session's zone is: psycopg can't read the last day of year 9999 in one east of UTC."""
    from psycopg.adapt import Loader  # noqa: PLC0415 - psycopg is optional, and installed where a connection of it comes in

    class InUtc(Loader):
        def load(self, data: Buffer) -> datetime:
            return _in_utc(bytes(data).decode())

    connection.adapters.register_loader("timestamptz", InUtc)


def _in_utc(text: str) -> datetime:
    """Read a time as PostgreSQL writes it, such as ``2026-11-24 04:29:11.25+09``."""
    if not text.startswith(_YEAR_AFTER_THE_LAST):
        return datetime.fromisoformat(text).astimezone(UTC)
    there = datetime.fromisoformat(text.replace(_YEAR_AFTER_THE_LAST, "9999-12-31 "))
    ahead = there.utcoffset() or timedelta()
    return there.replace(tzinfo=UTC) + (timedelta(days=1) - ahead)
