"""`aquilax-feedback dead-letters replay` and `discard` to their end: outages, kill -9, Ctrl-C, and rows left out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.support.dead_letter_records import add, an_unreadable_record, rows_of
from tests.support.dead_letters_cli import PROGRAM, add_rows, queued, say, states_of
from tests.support.plans import Steps
from tests.support.processes import eventually
from worker.database.models import State
from worker.dead_letters.replays.advancer import overdue
from worker.dead_letters.replays.queries import find
from worker.dead_letters.replays.queue import LIST
from worker.operations.cli import main
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    import redis

    from worker.dead_letters.store import DeadLetterStore


def test_a_broker_that_is_away_is_said_and_the_plan_waits_for_it(
    table: DeadLetterStore, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, what to do next, and no password; the rows stay dead until it is back, and then they go."""
    add_rows(table, 3)
    there = os.environ["FEEDBACK_BROKER_URL"]
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")

    ended = say("replay", "--yes")

    assert (ended.exit_code, ended.stdout) == (1, "replay 1: enqueued 0 of 3\n")
    assert "not followed any more: FEEDBACK_BROKER_URL is redis://:***@127.0.0.1" in ended.stderr
    assert "aquilax-feedback replays show 1" in ended.stderr
    assert "hunter2" not in ended.output
    assert states_of(table) == [State.DEAD] * 3
    monkeypatch.setenv("FEEDBACK_BROKER_URL", there)
    _advance(table, queue)
    assert len(queued(queue)) == 3


def _advance(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Do what workers would: take up every overdue plan, an hour from now."""
    steps = Steps(table, queue, datetime.now(UTC) + timedelta(hours=1))
    for replay_id, _ in overdue(table.engine, now=steps.time):
        steps.run(find(table.engine, replay_id))


def test_a_database_that_is_away_is_told_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which database that is, and no password, for every command that needs it."""
    url = f"postgresql://feedback:hunter2@127.0.0.1:{free_port()}/d"
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", url)

    for arguments in (["dead-letters", "list"], ["dead-letters", "replay", "--yes"], ["db", "upgrade"]):
        ended = CliRunner().invoke(main, arguments)

        assert ended.exit_code == 1
        assert f"FEEDBACK_DATABASE_URL is {url.replace('hunter2', '***')}: the dead-letter database" in ended.stderr
        assert "hunter2" not in ended.output


def test_a_database_that_goes_away_under_a_replay_is_told_with_its_setting(
    table: DeadLetterStore, queue: redis.Redis
) -> None:
    """The table is taken away while the replay waits for its next step."""
    add_rows(table, 30)
    command = [*PROGRAM, "replay", "--yes", "--rate", "1"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: queue.llen(LIST), what="the replay is under way")
    eventually(lambda: any(row.replay_enqueued_at for row in rows_of(table)), what="its first row is confirmed")

    with table.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dead_letters RENAME TO gone")

    _, said = run.communicate(timeout=20)
    assert run.returncode == 1
    assert f"not followed any more: FEEDBACK_DATABASE_URL is {table.engine.url}: the dead-letter database" in said


def test_an_invalid_message_is_left_out_and_said_to_be(table: DeadLetterStore) -> None:
    """The operator knows why the numbers differ."""
    add(table, an_unreadable_record())

    ended = say("replay", "--yes")

    assert ended.stdout.startswith("nothing to replay; 1 invalid left out")


def test_a_discard_keeps_the_reason(table: DeadLetterStore) -> None:
    """It is kept with the row; a discarded row is not discarded twice."""
    ids = add_rows(table, 2)

    assert say("discard", ids[0], "--comment", "load test").stdout == "discarded 1\n"
    assert json.loads(say("discard", *ids, "--comment", "another", "--json").stdout) == {"discarded": 1}
    assert [row.comment for row in rows_of(table)] == ["load test", "another"]


def test_a_replay_whose_command_is_killed_goes_on(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Kill -9 at any moment: workers take the plan up, every row goes once, and none is left behind."""
    ids = add_rows(table, 600)
    command = [*PROGRAM, "replay", "--yes", "--rate", "100"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    eventually(lambda: queue.llen(LIST), what="the replay is under way")

    run.kill()

    assert run.wait(10) == -signal.SIGKILL
    assert State.DEAD in states_of(table), "it was killed before its end"
    _advance(table, queue)
    assert queued(queue) == ids
    assert states_of(table) == [State.REPLAYING] * 600
    assert all(row.replay_enqueued_at and row.replay_count == 1 for row in rows_of(table))


def test_ctrl_c_ends_the_command_and_not_the_replay(table: DeadLetterStore, queue: redis.Redis) -> None:
    """It says what is done and how to look at the rest, and leaves no row half replayed."""
    add_rows(table, 50)
    command = [*PROGRAM, "replay", "--yes", "--rate", "5", "--json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    eventually(lambda: queue.llen(LIST), what="the replay is under way")

    run.send_signal(signal.SIGINT)
    said, said_besides = run.communicate(timeout=20)

    result = json.loads(said)
    assert run.returncode == 130
    assert result["interrupted"]
    assert result["replay"]["state"] == "running"
    assert b"aquilax-feedback replays show 1" in said_besides
    confirmed = [row for row in rows_of(table) if row.replay_enqueued_at]
    assert result["enqueued"] == len(queued(queue)) == len(confirmed) == states_of(table).count(State.REPLAYING)


def test_a_replay_can_be_left_to_the_workers(table: DeadLetterStore, queue: redis.Redis) -> None:
    """The plan is made, and that is all; where no worker runs that is said."""
    add_rows(table, 3)

    ended = say("replay", "--yes", "--no-wait")

    assert (ended.exit_code, ended.stdout) == (0, "replay 1: enqueued 0 of 3\n")
    assert "no worker consumes feedback-replays" in ended.stderr
    _advance(table, queue)
    assert len(queued(queue)) == 3


def test_a_canary_without_a_worker_is_said_to_wait(table: DeadLetterStore, queue: redis.Redis) -> None:
    """The command does not hang; its exit status says that not all rows went."""
    ids = add_rows(table, 3)

    ended = say("replay", "--yes", "--canary", 1)

    assert (ended.exit_code, ended.stdout) == (1, "replay 1: enqueued 1 of 3; 1 on the way\n")
    assert "no worker consumes feedback-replays" in ended.stderr
    assert queued(queue) == ids[:1]


def test_rows_of_another_replay_are_left_out_and_said_to_be(table: DeadLetterStore) -> None:
    """Among many it is no failure; asked for by its id it is one."""
    (row_id,) = add_rows(table, 1)
    say("replay", "--yes", "--no-wait")

    for arguments, status in ((["--yes"], 0), ([row_id], 1)):
        ended = say("replay", *arguments)

        assert (ended.exit_code, ended.stdout) == (
            status,
            "nothing to replay; 1 left out: another replay that has not ended has them\n",
        )


@pytest.mark.usefixtures("table")
def test_what_fits_no_row_is_said_and_a_replay_that_is_not_there_is_refused() -> None:
    """A number that was mistyped would choose nothing, and look as if nothing were left to do."""
    nothing = say("replay", "--org", "nowhere", "--yes")
    assert (nothing.exit_code, nothing.stdout) == (0, "nothing to replay: no dead letter fits\n")

    for command in (["list"], ["replay", "--yes"], ["discard", "--comment", "x", "--yes"], ["export"]):
        refused = say(*command, "--rest-of", 7)

        assert refused.exit_code == 2, command
        assert "Invalid value for --rest-of: there is no replay 7" in refused.stderr
