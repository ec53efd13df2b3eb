"""One relay at a time on an SQLite file, which locks no rows: they exclude each other by a lock on a file beside it.

The operating system releases it when a process ends, however it ends. The database's own write lock would keep the
backend from writing for as long as Redis takes to answer.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from producer import _locks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

__all__ = ["alone"]


@contextmanager
def alone(connection: Connection) -> Iterator[bool]:
    """Say whether this is the only relay on the file for the length of the block; a database in memory has one."""
    file = _file(connection)
    if not file:
        yield True
        return
    try:
        lock = _locks.open_locked(Path(f"{file}-relay"), os.O_CREAT | os.O_RDWR, 0o660)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        _locks.close(lock)


def _file(connection: Connection) -> str:
    """The path of the database, as SQLite has it; empty if it has none."""
    with connection.begin():
        (main, *_) = connection.exec_driver_sql("PRAGMA database_list").all()
    return str(main[2] or "")
