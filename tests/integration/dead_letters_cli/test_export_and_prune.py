"""`aquilax-feedback dead-letters export` and `prune`, and the version of the table."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support.dead_letter_records import a_record, rows_of, settle
from tests.support.dead_letters_cli import add_rows, say
from tests.support.processes import ROOT
from worker.database.models import State
from worker.operations.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from worker.dead_letters.store import DeadLetterStore


def test_an_export_writes_every_row(table: DeadLetterStore, tmp_path: Path) -> None:
    """As NDJSON or CSV, to a file or to standard output."""
    ids = add_rows(table, 3)

    assert [json.loads(line)["id"] for line in say("export").stdout.splitlines()] == ids
    ended = say("export", "--format", "csv", "--output", tmp_path / "dead.csv", "--limit", 2)
    assert (ended.stdout, ended.stderr) == ("", f"2 rows written to {tmp_path / 'dead.csv'}\n")
    with (tmp_path / "dead.csv").open(newline="") as file:
        assert [int(line["id"]) for line in csv.DictReader(file)] == ids[:2]


def test_an_export_that_fails_leaves_the_old_file(table: DeadLetterStore, tmp_path: Path) -> None:
    """Whole or not at all: half a file would look like all there is."""
    (tmp_path / "dead.ndjson").write_text("before")
    with table.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dead_letters RENAME TO gone")

    ended = say("export", "--output", tmp_path / "dead.ndjson")

    assert ended.exit_code == 1
    assert (tmp_path / "dead.ndjson").read_text() == "before"


_PEAK = """
import re, sys
from pathlib import Path
from worker.operations.cli import main
try:
    main(sys.argv[1:], prog_name="aquilax-feedback")
finally:  # not getrusage: its maximum counts the parent's memory of before the exec
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


def test_an_export_needs_no_more_memory_for_more_rows(table: DeadLetterStore, tmp_path: Path) -> None:
    """20,000 rows go through as 100 do; so would a million."""

    def peak(*arguments: str) -> int:
        command = [sys.executable, "-c", _PEAK, "dead-letters", *arguments]
        ended = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return int(ended.stderr.splitlines()[-1])

    _fill(table, 20_000)
    output = str(tmp_path / "dead.ndjson")

    few = peak("export", "--output", output, "--limit", "100")
    many = peak("export", "--output", output)

    assert (tmp_path / "dead.ndjson").read_bytes().count(b"\n") == 20_000
    assert many - few < 15_000, "KiB; all rows at once would be 100,000 and more"
    assert peak("list", "--limit", "10") < few + 15_000


def _fill(table: DeadLetterStore, rows: int) -> None:
    """Many copies of one row, quickly, each with an answer of full length."""
    table.add(a_record(response_body="x" * 4096))
    columns = (
        "request_id, status, org, org_group, occurred_at, reason, http_status, response_body, fingerprint, summary, "
        "attempts, first_enqueued_at, failed_at, state, comment, replay_count"
    )
    with table.engine.begin() as connection:
        connection.exec_driver_sql(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows - 1}) "  # noqa: S608 - no foreign text
            f"INSERT INTO dead_letters (dedup_key, {columns}) SELECT i, {columns} FROM dead_letters, n"
        )


@pytest.mark.parametrize(
    "command", [["list"], ["show", "1"], ["replay", "--yes"], ["discard", "1", "--comment", "x"], ["export"]]
)
def test_without_a_table_every_command_says_what_to_say(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """And exits with 1, and makes no empty file in the wrong folder."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", sqlite_url)

    ended = say(*command)

    assert ended.exit_code == 1
    assert "aquilax-feedback db upgrade" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, the variable, and not its value."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", "oracle+nonsense://u:hunter2@h/d")

    ended = say("list")

    assert ended.exit_code == 2
    assert "FEEDBACK_DATABASE_URL" in ended.stderr
    assert "hunter2" not in ended.output


def test_the_version_of_the_table_can_be_seen_and_checked(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`db check` is for scripts, `db current` for people."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", sqlite_url)

    def db(command: str) -> tuple[int, str]:
        ended = CliRunner().invoke(main, ["db", command])
        return ended.exit_code, ended.stdout

    assert db("check") == (1, "")
    assert db("current") == (1, "")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "dead-letters.sqlite3").touch()
    assert db("current") == (0, "none (this release needs 0001)\n")
    assert db("upgrade") == (0, "the dead-letter table is at version 0001\n")
    assert db("check") == (0, "the dead-letter table is up to date\n")
    assert db("current") == (0, "0001 (this release needs 0001)\n")


def test_prune_deletes_what_is_over_when_it_is_told_to(table: DeadLetterStore) -> None:
    """It asks, or refuses without a terminal; and counts first."""
    dead, over, discarded = add_rows(table, 3)
    settle(table, over, State.DELIVERED)
    settle(table, discarded, State.DISCARDED)

    assert say("prune", "--yes", "--json").stdout == '{"pruned": 0, "pruned_replays": 0}\n'
    assert say("prune", "--older-than", "0s", "--dry-run").stdout.startswith(
        "would prune 2 dead letters and 0 replays that were over before 20"
    )
    refused = say("prune", "--older-than", "0s")
    assert (refused.exit_code, "this would delete 2 dead letters and 0 replays" in refused.stderr) == (2, True)
    assert len(rows_of(table)) == 3
    assert say("prune", "--older-than", "0s", "--yes", "--json").stdout == '{"pruned": 2, "pruned_replays": 0}\n'
    assert [row.id for row in rows_of(table)] == [dead]


def test_prune_refuses_what_is_no_time(table: DeadLetterStore) -> None:
    """A number alone may be meant in any unit."""
    ended = say("prune", "--older-than", "30")

    assert (ended.exit_code, "expected a time" in ended.stderr) == (2, True)
    assert rows_of(table) == []
