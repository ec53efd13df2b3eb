"""The file of an SQLite database is for its owner and group."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from worker.database.engine import connect
from worker.database.schema import upgrade

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o640), (0o077, 0o600), (0o002, 0o660)])
def test_the_world_reads_no_file_of_sqlite(tmp_path: Path, umask: int, rights: int) -> None:
    """What people said stands in it, and in the files beside it, which get the same rights."""
    before = os.umask(umask)
    try:
        upgrade(f"sqlite:///{tmp_path}/dead.sqlite3")
        engine = connect(f"sqlite:///{tmp_path}/dead.sqlite3")
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE more (id INTEGER)")
            found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        engine.dispose()
    finally:
        os.umask(before)

    assert found == dict.fromkeys(("dead.sqlite3", "dead.sqlite3-wal", "dead.sqlite3-shm"), rights)
