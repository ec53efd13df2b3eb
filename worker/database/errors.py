"""What can go wrong with the dead-letter table, and who acts on it.

    DeadLetterError
    ├── DeadLetterStoreUnavailable   the database is unavailable or refuses: keep the event, try again later
    ├── DatabaseUnusable             the operator fixes the URL's setting or installs the driver
    └── SchemaError                  the operator runs `aquilax-feedback db upgrade`, or a newer release
        ├── SchemaMissing            the database has no dead-letter table yet
        ├── SchemaOutdated           the table is older than this release
        └── SchemaTooNew             the table is newer than this release

Every error of a database driver, and a pool that is empty for too long, is translated by `translated`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc

from worker.policy.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DatabaseUnusable",
    "DeadLetterError",
    "DeadLetterStoreUnavailable",
    "SchemaError",
    "SchemaMissing",
    "SchemaOutdated",
    "SchemaTooNew",
    "translated",
]


_REDACTED: Final = Redaction()


class DeadLetterError(Exception):
    """The dead-letter table can't be used; the message shows no secret."""


class DeadLetterStoreUnavailable(DeadLetterError):
    """The database did not do it: it is unavailable, locked, full, read-only, or refuses the login."""


class DatabaseUnusable(DeadLetterError):
    """The URL names no database that can be used, or its driver is not installed."""


class SchemaError(DeadLetterError):
    """The table is not the one that this release knows."""


class SchemaMissing(SchemaError):
    """The database has no dead-letter table yet, or is an SQLite file that is not there."""


class SchemaOutdated(SchemaError):
    """The table is older than this release."""


class SchemaTooNew(SchemaError):
    """The table is newer than this release."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a database driver raises into `DeadLetterStoreUnavailable`.

    All of `DBAPIError`, not only the disconnects: a missing permission, a replica that is read-only after a failover
    and a dropped table come as `ProgrammingError` and `InternalError`, and for the caller they are the same thing. The
    event could not be written, so it is kept and tried again.
    """
    try:
        yield
    except exc.DBAPIError as error:
        raise DeadLetterStoreUnavailable(f"the dead-letter database failed: {_summary(error.orig)}") from error
    except exc.TimeoutError as error:
        raise DeadLetterStoreUnavailable("the dead-letter database has no connection free") from error


_BINLOG_FORMAT: Final = 1665
"""MariaDB's and MySQL's number for a transaction that their binary log, as it is set, can't take."""


def _summary(error: BaseException | None) -> str:
    """The driver's own message, without SQLAlchemy's statement around it."""
    if error is not None and error.args[:1] == (_BINLOG_FORMAT,):
        return (
            "its binary log is written as STATEMENT, which can't take transactions that are READ COMMITTED, as "
            "feedback's are: set binlog_format=MIXED (or ROW) on the server"
        )
    lines = _REDACTED(str(error)).strip().splitlines()  # some repeat how they were told to connect
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
