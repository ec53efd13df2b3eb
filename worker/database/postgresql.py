"""A PostgreSQL connection that relies on nothing that a session keeps.

Behind PgBouncer in transaction mode each transaction may be another session's: what a startup option, a SET or a
prepared statement left in one is not there in the next. So what a transaction needs is said as it begins.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import event

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import Buffer
    from sqlalchemy import Connection, Engine

__all__ = ["ISOLATION", "sessionless"]

ISOLATION: Final = "AUTOCOMMIT"
"""To the driver: it would send a BEGIN of its own, and what a transaction needs after it, in two round trips."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{seconds}s'"

_YEAR_AFTER_THE_LAST: Final = "10000-01-01 "


def sessionless(engine: Engine, *, lock_seconds: int) -> None:
    """Let each transaction of an engine say what it needs, in the round trip of its BEGIN.

    Args:
        engine: An engine with psycopg, and with `ISOLATION`.
        lock_seconds: How long a statement waits for a row that another transaction has locked.
    """
    begin = _BEGIN.format(seconds=lock_seconds)

    def say_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", say_begin)
    event.listen(engine, "connect", _read_times)


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
