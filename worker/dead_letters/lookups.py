"""How a condition is looked up at a million rows: in one index that has all it asks for, and without reading a row.

SQLite chooses an index by rules of thumb, and would rather go by a narrow one and read each row there for the rest. The
other databases know their rows, and choose by that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard

from sqlalchemy import BinaryExpression, BindParameter, Column, ColumnElement, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from worker.database.models import PREVIEW, STATISTICS, DeadLetter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row, SQLColumnExpression
    from sqlalchemy.sql.compiler import SQLCompiler
    from sqlalchemy.sql.visitors import ExternallyTraversible

__all__ = ["FEW", "by_no_index", "covered", "few_of", "keep_to_indices", "unindexed", "unsorted"]

FEW: Final = 2_000
"""Rows that are fetched and counted here sooner than the database counts them in several ways."""


def covered(which: ColumnElement[bool], *read: str) -> ColumnElement[bool]:
    """Return the same condition for a query that reads one index and no row.

    Args:
        which: The condition.
        read: The names in the database of the columns that the query reads besides those of the condition.
    """
    asked = {element.name for element in iterate(which) if _is_ours(element)}
    kept = _kept(asked, set(read))
    if "org" in kept and _orgs_in(which) != 1:
        kept -= {"state"}  # by which alone, for several orgs, SQLite would go at times
    return _hidden(which, kept=kept)


def _orgs_in(which: ColumnElement[bool]) -> int:
    """Return how many orgs a condition names."""
    named = [
        element.right
        for element in iterate(which)
        if isinstance(element, BinaryExpression) and _is_ours(element.left) and element.left.name == "org"
    ]
    values = [bound.value for bound in named if isinstance(bound, BindParameter)]
    return sum(len(value) if isinstance(value, list | tuple) else 1 for value in values)


def by_no_index(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the same condition for a query that goes by something else, such as the order of the ids."""
    return _hidden(which, kept=frozenset())


def _hidden(which: ColumnElement[bool], *, kept: frozenset[str]) -> ColumnElement[bool]:
    def replaced(element: ExternallyTraversible, **_: object) -> ColumnElement[Any] | None:
        return unindexed(element) if _is_ours(element) and element.name in _HIDDEN - kept else None

    return replacement_traverse(which, {}, replaced)


_HIDDEN: Final = frozenset(STATISTICS) - {"id"}


def _kept(asked: set[str], read: set[str]) -> frozenset[str]:
    """Return the columns by which an index is to be chosen: those that the one that has everything begins with."""
    everything = asked | read
    if asked & {"id", "request_id"}:
        return frozenset()  # which have an index of their own, and choose few
    if everything <= {"state", "failed_at", "id"}:
        return frozenset({"state", "failed_at"})
    if "org" in asked and everything <= {*PREVIEW, "id"}:
        return frozenset({"org", "state"})
    return frozenset({"fingerprint", "failed_at"} if "fingerprint" in asked else ())


def _is_ours(element: object) -> TypeGuard[Column[Any]]:
    return isinstance(element, Column) and getattr(element.table, "name", None) == DeadLetter.__tablename__


def few_of(
    connection: Connection, which: ColumnElement[bool], *columns: SQLColumnExpression[Any], most: int = FEW
) -> Sequence[Row[Any]] | None:
    """Return columns of the rows that fit, in no order; None if there are more than ``most``.

    Where many fit they are soon met. Where few do, one pass over an index finds them, and no other is needed.
    """
    keep_to_indices(connection)
    query = select(*columns)
    fits = covered(which, *(column.name for column in query.selected_columns))
    rows = connection.execute(query.where(fits).limit(most + 1)).all()
    return None if len(rows) > most else rows


def keep_to_indices(connection: Connection) -> None:
    """Let PostgreSQL read no table from its beginning until this transaction ends.

    To find the first few of many it would, and with filters that go together it is wrong about how many fit: then it
    reads all of the table, where an index has all that is asked for.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")


class unindexed(FunctionElement[Any]):  # noqa: N801 - named like the SQL function that it is
    """A column by which SQLite chooses no index: https://sqlite.org/optoverview.html#uplus."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


class unsorted(unindexed):  # noqa: N801 - named like the SQL function that it stands for
    """A column to sort by whose index no database follows: in its order it may meet the few that fit last."""

    inherit_cache = True


@compiles(unsorted, "sqlite")
def _unsorted_of_sqlite(element: unsorted, compiler: SQLCompiler, **options: Any) -> str:
    return _unindexed_of_sqlite(element, compiler, **options)


@compiles(unsorted)
def _unsorted(element: unsorted, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.clauses, **options)
    return f"coalesce({column}, {column})"


@compiles(unindexed)
def _unindexed_of_standard(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(unindexed, "sqlite")
def _unindexed_of_sqlite(element: unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"
