"""What a migration does to tables, in steps that may be run again: each asks first what is there already.

MySQL and MariaDB commit each such statement by itself, so a migration that is cut short leaves the first of its steps
behind, while its version is not written down yet.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

__all__ = ["add_column", "create_index", "create_table", "drop_column", "drop_index", "drop_table"]


def create_table(name: str, *columns: sa.Column[Any], **options: Any) -> None:
    """Create a table, unless it is there; the options are those of `alembic.op.create_table`."""
    if not _here().has_table(name):
        op.create_table(name, *columns, **options)


def drop_table(name: str) -> None:
    """Drop a table and all that is in it, if it is there."""
    if _here().has_table(name):
        op.drop_table(name)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, unless it is there."""
    if not _has_column(table, column.name):
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """Drop a column and what is in it, if it is there."""
    if _has_column(table, name):
        op.drop_column(table, name)


def create_index(name: str, table: str, columns: list[str]) -> None:
    """Create an index, unless it is there."""
    if not _has_index(table, name):
        op.create_index(name, table, columns)


def drop_index(name: str, table: str) -> None:
    """Drop an index, if it is there."""
    if _has_index(table, name):
        op.drop_index(name, table)


def _here() -> sa.Inspector:
    """A new one each time: an inspector remembers what it saw."""
    return sa.inspect(op.get_bind())


def _has_column(table: str, name: str) -> bool:
    return any(column["name"] == name for column in _here().get_columns(table))


def _has_index(table: str, name: str) -> bool:
    return any(index["name"] == name for index in _here().get_indexes(table))
