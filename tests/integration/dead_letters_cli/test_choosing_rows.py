"""`aquilax-feedback dead-letters replay`: which rows it takes, and when it asks first."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support.dead_letter_records import REQUEST_ID, add, an_event, an_unreadable_record, settle
from tests.support.dead_letters_cli import PROGRAM, add_rows, queued, say, states_of
from worker.database.models import State
from worker.operations.cli import main

if TYPE_CHECKING:
    import redis

    from worker.dead_letters.store import DeadLetterStore


def test_a_replay_puts_the_events_into_the_queue(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Those that fit; the others stay dead."""
    wanted = add_rows(table, 2, http_status=404)
    add_rows(table, 1, http_status=400)

    ended = say("replay", "--http-status", 404)

    assert (ended.exit_code, ended.stdout) == (0, "replay 1: enqueued 2 of 2; 2 on the way\n")
    assert ended.stderr.startswith(
        "no worker consumes feedback-replays: start a worker without -Q, or with -Q feedback,feedback-replays; "
        "replays go on by themselves\nit goes on in the background"
    )
    assert queued(queue) == wanted
    assert states_of(table) == [State.REPLAYING, State.REPLAYING, State.DEAD]


def test_a_replay_of_some_ids_takes_those(table: DeadLetterStore, queue: redis.Redis) -> None:
    """As `list` prints them."""
    ids = add_rows(table, 3)

    say("replay", ids[2], ids[0])

    assert queued(queue) == [ids[0], ids[2]]


def test_ids_that_can_not_be_replayed_are_told_and_the_others_are(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Each with what to do; the exit status says that not everything asked for was done."""
    dead, discarded, delivered, replaying = add_rows(table, 4)
    (elsewhere,) = add_rows(table, 1, event=an_event(org="org-2"))
    say("discard", discarded, "--comment", "x")
    settle(table, delivered, State.DELIVERED)
    say("replay", replaying)

    ended = say("replay", *range(1, 6), 999, "--org", "org-1")

    assert (ended.exit_code, ended.stdout) == (1, "replay 2: enqueued 1 of 1; 1 on the way\n")
    assert ended.stderr.splitlines()[:5] == [
        f"{discarded} is discarded: add --state discarded",
        f"{delivered} is delivered: AquilaX has it",
        f"{replaying} is replaying: its outcome has not come yet; add --state replaying if Redis has lost its queue",
        f"{elsewhere} does not fit the other filters",
        "there is no dead letter 999",
    ]
    assert queued(queue) == [replaying, dead]


@pytest.mark.parametrize("arguments", [["replay"], ["replay", "--dry-run"], ["discard", "--comment", "x"]])
def test_an_id_that_is_not_there_is_told(table: DeadLetterStore, arguments: list[str]) -> None:  # noqa: ARG001 - the settings
    """Also by a dry run."""
    ended = say(*arguments, 999)

    assert (ended.exit_code, ended.stderr) == (1, "there is no dead letter 999\n")


def test_an_invalid_row_that_is_asked_for_by_its_id_is_a_failure(table: DeadLetterStore) -> None:
    """Among many it is left out; alone it is what was wanted."""
    add(table, an_unreadable_record())

    ended = say("replay", 1)

    assert ended.exit_code == 1
    assert "1 invalid left out" in ended.stdout


@pytest.mark.parametrize("wrong", ["abc", "0", "9" * 19, "9" * 5000, REQUEST_ID])
def test_what_is_no_id_is_refused_with_what_is_one(wrong: str) -> None:
    """A request_id has an option of its own."""
    ended = say("replay", wrong)

    assert ended.exit_code == 2
    assert f"'{wrong}' is no dead letter's id" in ended.stderr
    assert "--request-id" in ended.stderr


def test_a_dry_run_changes_nothing(table: DeadLetterStore, queue: redis.Redis) -> None:
    """It says what would be done, and needs no confirmation."""
    add_rows(table, 20)

    assert say("replay", "--dry-run").stdout.endswith("would replay 20\n")
    assert "would replay 20, which takes 40 s" in say("replay", "--dry-run", "--rate", 0.5).stdout
    found = json.loads(say("replay", "--dry-run", "--json").stdout)
    assert (found["would_replay"], found["invalid"], found["elsewhere"], found["seconds"]) == (20, 0, 0, None)
    assert (found["by_cause"][0]["rows"], found["by_org"]) == (20, [{"name": "org-1", "summary": "org-1", "rows": 20}])
    assert say("discard", "--dry-run", "--comment", "x").stdout == "would discard 20\n"
    assert queued(queue) == []
    assert states_of(table) == [State.DEAD] * 20


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [(11, ["replay", "--org", "org-1"]), (1, ["replay"]), (1, ["discard", "--comment", "x"])],
    ids=["many rows", "no filter", "no filter to discard"],
)
def test_without_a_terminal_many_rows_need_a_yes(table: DeadLetterStore, rows: int, arguments: list[str]) -> None:
    """A script that forgot its filter replays nothing, and is told what to add."""
    add_rows(table, rows)

    ended = say(*arguments)

    assert ended.exit_code == 2
    assert "--yes" in ended.stderr
    assert states_of(table) == [State.DEAD] * rows
    assert say(*arguments, "--yes").exit_code == 0


@pytest.mark.parametrize(("answer", "states"), [("y", {State.REPLAYING}), ("n", {State.DEAD})])
def test_on_a_terminal_many_rows_are_asked_about(table: DeadLetterStore, answer: str, states: set[State]) -> None:
    """The question names how many; no means that nothing is done."""
    add_rows(table, 11)

    said = _on_a_terminal("replay", answers=f"{answer}\n")

    assert "Replay 11 rows?" in said
    assert set(states_of(table)) == states


def test_on_a_terminal_long_work_has_a_bar(table: DeadLetterStore) -> None:
    """In a pipe or a log it has none."""
    add_rows(table, 11)

    assert "11/11" in _on_a_terminal("replay", "--yes")
    cancelled = CliRunner().invoke(main, ["replays", "cancel", "1"])
    assert cancelled.output == "replay 1 is cancelled: enqueued 11 of 11; 11 on the way\n"
    ended = say("replay", "--yes", "--state", "replaying")
    assert ended.stdout == "replay 2: enqueued 11 of 11; 11 on the way\n"
    assert "11/11" not in ended.stderr


def test_on_a_terminal_a_list_fits_the_screen(table: DeadLetterStore) -> None:
    """One line a row, cut where the screen ends."""
    add_rows(table, 1, response_body="no " + "x" * 100)

    head, row, *_ = _on_a_terminal("list").splitlines()

    assert head.split()[0] == "id"
    assert "rejected 404: no" in row
    assert len(row) <= 120
    assert row.endswith("…")


def _on_a_terminal(*arguments: str, answers: str = "") -> str:
    """Run a command for a person in front of a screen, and return what the person sees, without the colours."""
    controller, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm"}
    command = subprocess.Popen(
        [*PROGRAM, *arguments], stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    )
    os.close(terminal)
    os.write(controller, answers.encode())
    screen = b""
    with closing(os.fdopen(controller, "rb", buffering=0)) as output, suppress(OSError):  # the end of a terminal
        while seen := output.read(4096):
            screen += seen
    assert command.wait(30) in {0, 1}
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
