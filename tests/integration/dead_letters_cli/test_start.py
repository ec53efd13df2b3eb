from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from worker.database.schema import upgrade

if TYPE_CHECKING:
    from pathlib import Path

_RUN = """
import sys
from click.testing import CliRunner
from worker.operations.cli import main
ended = CliRunner().invoke(main, sys.argv[1:])
print(ended.exit_code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""
_NOT_NEEDED = {
    "alembic",
    "celery",
    "dotenv",
    "flower",
    "gevent",
    "kombu",
    "opentelemetry",
    "psycopg",
    "pydantic_settings",
    "redis",
    "requests",
    "rich",
}


@pytest.mark.parametrize(
    ("command", "status"),
    [(["list"], "0"), (["list", "--group-by", "fingerprint"], "0"), (["show", "1"], "1"), (["export"], "0")],
    ids=["list", "causes", "show", "export"],
)
def test_a_command_that_looks_imports_what_it_needs_alone(tmp_path: Path, command: list[str], status: str) -> None:
    """Its start is most of what an operator waits for: redis-py alone would be a third of it."""
    database = f"sqlite:///{tmp_path}/dead.sqlite3"
    upgrade(database)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AQUILAX_", "FEEDBACK_"))}
    environment |= {"FEEDBACK_DATABASE_URL": database, "FEEDBACK_BROKER_URL": "redis://:secret@redis.example:6380/2"}

    ended = subprocess.run(
        [sys.executable, "-c", _RUN, "dead-letters", *command],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    exit_code, *imported = ended.stdout.split()
    assert exit_code == status
    assert _NOT_NEEDED.isdisjoint(imported)
