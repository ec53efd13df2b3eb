"""`dead-letters causes`: the list, one cause, and what is decided of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.support.dead_letters_cli import add_rows, say
from worker.database.audit_log import actions

if TYPE_CHECKING:
    from worker.dead_letters.store import DeadLetterStore

NOT_FOUND = "732a1c19a072"


def test_causes_are_listed_and_triaged(table: DeadLetterStore) -> None:
    """As on the pages, with who said so."""
    now = datetime.now(UTC)
    add_rows(table, 2, failed_at=now - timedelta(days=3))
    add_rows(table, 1, failed_at=now, response_body="Never seen before")

    def listed(*options: str) -> list[list[str]]:
        lines = say("causes", "list", *options).stdout.splitlines()[1:]
        return [[cells[0], cells[2], cells[-1]] for cells in (line.split("\t") for line in lines)]

    new, old = ["1", "new", "rejected 404: Never seen before"], ["2", "open", "rejected 404: Request ID not found"]
    assert listed() == [new, old]
    assert listed("--show", "new") == [new]

    assert say("causes", "acknowledge", NOT_FOUND, "--actor", "ann").stdout.startswith(f"{NOT_FOUND} is acknowledged: ")
    assert "owner bob" in say("causes", "assign", NOT_FOUND, "bob", "--actor", "ann").stdout
    muted = say("causes", "mute", NOT_FOUND, "--until", "4h", "--actor", "ann", "--comment", "over the weekend")
    assert f"{NOT_FOUND} is muted until " in muted.stdout
    assert "1 muted: --show muted" in say("causes", "list").stderr
    assert listed("--show", "muted") == [["2", "muted", "rejected 404: Request ID not found"]]
    assert say("causes", "note", NOT_FOUND, "since release 7", "--actor", "ann").exit_code == 0

    shown = say("causes", "show", NOT_FOUND).stdout
    assert "owner:              bob\n" in shown
    assert "note by ann: since release 7\n" in shown
    assert json.loads(say("causes", "show", NOT_FOUND, "--json").stdout)["history"][0]["action"] == "cause.note"
    assert json.loads(say("causes", "unmute", NOT_FOUND, "--json").stdout)["muted_until"] is None
    assert {done.actor for done in actions(table.engine)} >= {"ann"}
    assert len(actions(table.engine)) == 5


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["show", "nothing"], 2, "expected a cause as `dead-letters causes list` prints it"),
        (["show", "000000000000"], 1, "there is no cause 000000000000"),
        (["resolve", "000000000000"], 1, "there is no cause 000000000000"),
        (["mute", NOT_FOUND, "--until", "2020-01-01"], 2, "expected a time to come"),
        (["runbook", NOT_FOUND, "ftp://example.com"], 2, "expected an http or https address"),
    ],
)
def test_what_is_wrong_is_told(table: DeadLetterStore, arguments: list[str], status: int, expected: str) -> None:
    """With the exit status of its kind."""
    add_rows(table, 1)
    ended = say("causes", *arguments)
    assert (ended.exit_code, expected in ended.stderr) == (status, True)
