"""`aquilax-feedback dead-letters`, as an operator uses it: real processes, a real Valkey, a real database."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.support.burials import NOON, REQUEST_ID, a_burial, add, an_event, an_unreadable_burial, rows_of, settle
from tests.support.plans import Steps
from tests.support.processes import ROOT, RedisServer, eventually
from worker.database.models import State
from worker.dead_letters.replays.overdue import overdue
from worker.dead_letters.replays.queries import find
from worker.dead_letters.replays.queue import LIST
from worker.operations.cli import main
from worker.policy.retry import Reason
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from worker.dead_letters.store import DeadLetterStore

PROGRAM = [sys.executable, "-m", "worker.operations.cli", "dead-letters"]


@pytest.fixture
def table(table: DeadLetterStore, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> DeadLetterStore:
    """The dead-letter table and the queue that the command line's settings name."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    return table


@pytest.fixture
def queue(valkey: RedisServer) -> Iterator[redis.Redis]:
    """A look into the queue."""
    with valkey.client() as client:
        yield client


def _say(*arguments: object) -> Result:
    """Run a command in this process, with nobody to ask."""
    return CliRunner().invoke(main, ["dead-letters", *map(str, arguments)])


def _bury(table: DeadLetterStore, number: int, **changes: Any) -> list[int]:
    return [add(table, a_burial(**changes)) for _ in range(number)]


def _queued(queue: redis.Redis) -> list[int]:
    """The dead letters whose events are in the queue, in the order in which a worker takes them."""
    messages = map(json.loads, reversed(queue.lrange(LIST, 0, -1)))
    return [message["headers"]["feedback"]["dead_letter"] for message in messages]


def _states(table: DeadLetterStore) -> list[State]:
    return [row.state for row in rows_of(table)]


def test_a_list_in_a_pipe_has_one_line_a_row(table: DeadLetterStore) -> None:
    """Tabs between the columns, the newest death first, and a line break in an answer breaks no line."""
    _bury(table, 1, response_body="first")
    _bury(table, 1, response_body="two\nlines", failed_at=NOON + timedelta(hours=1))

    ended = _say("list")

    head, newest, oldest = (line.split("\t") for line in ended.stdout.splitlines())
    assert head[0] == "id"
    assert (newest[0], newest[1], newest[2], newest[-1]) == (
        "2",
        "2026-03-01 13:00:00",
        "dead",
        "rejected 404: two lines",
    )
    assert oldest[0] == "1"
    assert ended.stderr == "2 of 2 shown\n"


def test_a_list_says_how_many_more_there_are(table: DeadLetterStore) -> None:
    """A page is not all there is."""
    _bury(table, 3)

    assert _say("list", "--limit", 2).stderr == "2 of 3 shown\n"


def test_a_list_is_of_the_dead_and_counts_the_others(table: DeadLetterStore) -> None:
    """As on the dashboard: what was delivered after all waits for nobody; by cause likewise."""
    dead, delivered = _bury(table, 2)
    settle(table, delivered, State.DELIVERED)

    assert [row["id"] for row in json.loads(_say("list", "--json").stdout)] == [dead]
    assert _say("list").stderr == "1 of 1 shown\n1 more in other states: --state any shows them\n"
    assert [cause["rows"] for cause in json.loads(_say("list", "--group-by", "fingerprint", "--json").stdout)] == [1]
    assert [
        cause["rows"]
        for cause in json.loads(_say("list", "--group-by", "fingerprint", "--json", "--state", "any").stdout)
    ] == [2]
    assert _say("list", "--state", "any").stderr == "2 of 2 shown\n"
    assert _say("list", "--state", "delivered").stderr == "1 of 1 shown\n"


def test_a_list_as_json_has_the_fields_names_of_the_api(table: DeadLetterStore) -> None:
    """For programs."""
    table.add(a_burial(an_event(request_id=REQUEST_ID, status=False, group="group-7")))

    (row,) = json.loads(_say("list", "--json").stdout)

    assert (row["request_id"], row["status"], row["group"]) == (REQUEST_ID, False, "group-7")


def test_a_list_by_cause_counts(table: DeadLetterStore) -> None:
    """And the cause that it prints is what the filter takes; it is called so wherever it stands."""
    _bury(table, 3)
    _bury(table, 1, http_status=400, response_body="bad")

    head, first, second = (line.split("\t") for line in _say("list", "--group-by", "fingerprint").stdout.splitlines())

    assert (first[0], second[0]) == ("3", "1")
    assert len(json.loads(_say("list", "--json", "--fingerprint", second[1]).stdout)) == 1
    (row,) = json.loads(_say("list", "--group-by", "fingerprint", "--json", "--fingerprint", second[1]).stdout)
    assert (row["rows"], row["fingerprint"], row["summary"]) == (1, second[1], "rejected 400: bad")
    assert "fingerprint" in head
    assert "fingerprint" in _say("list").stdout.splitlines()[0].split("\t")


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--reason", "exhausted"], [1]),
        (["--http-status", "404", "--org", "org-1"], [2]),
        (["--group", "group-9"], [1]),
        (["--request-id", REQUEST_ID.upper()], [2]),
        (["--state", "dead", "--state", "delivered"], [2, 1]),
        (["--since", "1h"], [2]),
        (["--until", "1h"], [1]),
        (["--since", "2026-03-01T12:00:00", "--until", "2026-03-01T13:00:00+01:00"], []),
        (["--since", "2026-03-01T13:00:00+01:00", "--until", "2026-03-02"], [1]),
    ],
)
def test_filters_are_said_as_a_person_says_them(table: DeadLetterStore, filters: list[str], found: list[int]) -> None:
    """By name, by how long ago, by a day or by an instant."""
    table.add(a_burial(an_event(group="group-9"), reason=Reason.EXHAUSTED, http_status=503))
    table.add(a_burial(an_event(request_id=REQUEST_ID), failed_at=datetime.now(UTC)))

    assert [row["id"] for row in json.loads(_say("list", "--json", *filters).stdout)] == found


def test_a_time_that_nobody_understands_is_refused(table: DeadLetterStore) -> None:  # noqa: ARG001 - the settings
    """With what is expected instead."""
    ended = _say("list", "--since", "yesterday")

    assert ended.exit_code == 2
    assert "2h, 30m or 7d" in ended.stderr


def test_one_dead_letter_is_shown_whole(table: DeadLetterStore) -> None:
    """By its id or by its request_id, for people and for programs; one that is not there is said not to be."""
    table.add(a_burial(an_event(request_id=REQUEST_ID)))

    assert "response_body:      Request ID not found" in _say("show", 1).stdout
    assert "status:             true" in _say("show", REQUEST_ID).stdout
    assert json.loads(_say("show", 1, "--json").stdout)[0]["raw_base64"] is None
    assert _say("show", 2).stderr == "Error: there is no dead letter 2\n"


def test_a_replay_puts_the_events_into_the_queue(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Those that fit; the others stay dead."""
    wanted = _bury(table, 2, http_status=404)
    _bury(table, 1, http_status=400)

    ended = _say("replay", "--http-status", 404)

    assert (ended.exit_code, ended.stdout) == (0, "replay 1: enqueued 2 of 2; 2 on the way\n")
    assert ended.stderr.startswith(
        "no worker consumes feedback-replays: start a worker without -Q, or with -Q feedback,feedback-replays; "
        "replays go on by themselves\nit goes on in the background"
    )
    assert _queued(queue) == wanted
    assert _states(table) == [State.REPLAYING, State.REPLAYING, State.DEAD]


def test_a_replay_of_some_ids_takes_those(table: DeadLetterStore, queue: redis.Redis) -> None:
    """As `list` prints them."""
    ids = _bury(table, 3)

    _say("replay", ids[2], ids[0])

    assert _queued(queue) == [ids[0], ids[2]]


def test_ids_that_can_not_be_replayed_are_told_and_the_others_are(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Each with what to do; the exit status says that not everything asked for was done."""
    dead, discarded, delivered, replaying = _bury(table, 4)
    (elsewhere,) = _bury(table, 1, event=an_event(org="org-2"))
    _say("discard", discarded, "--comment", "x")
    settle(table, delivered, State.DELIVERED)
    _say("replay", replaying)

    ended = _say("replay", *range(1, 6), 999, "--org", "org-1")

    assert (ended.exit_code, ended.stdout) == (1, "replay 2: enqueued 1 of 1; 1 on the way\n")
    assert ended.stderr.splitlines()[:5] == [
        f"{discarded} is discarded: add --state discarded",
        f"{delivered} is delivered: AquilaX has it",
        f"{replaying} is replaying: its outcome has not come yet; add --state replaying if Redis has lost its queue",
        f"{elsewhere} does not fit the other filters",
        "there is no dead letter 999",
    ]
    assert _queued(queue) == [replaying, dead]


@pytest.mark.parametrize("arguments", [["replay"], ["replay", "--dry-run"], ["discard", "--comment", "x"]])
def test_an_id_that_is_not_there_is_told(table: DeadLetterStore, arguments: list[str]) -> None:  # noqa: ARG001 - the settings
    """Also by a dry run."""
    ended = _say(*arguments, 999)

    assert (ended.exit_code, ended.stderr) == (1, "there is no dead letter 999\n")


def test_an_invalid_row_that_is_asked_for_by_its_id_is_a_failure(table: DeadLetterStore) -> None:
    """Among many it is left out; alone it is what was wanted."""
    add(table, an_unreadable_burial())

    ended = _say("replay", 1)

    assert ended.exit_code == 1
    assert "1 invalid left out" in ended.stdout


@pytest.mark.parametrize("wrong", ["abc", "0", "9" * 19, "9" * 5000, REQUEST_ID])
def test_what_is_no_id_is_refused_with_what_is_one(wrong: str) -> None:
    """A request_id has an option of its own."""
    ended = _say("replay", wrong)

    assert ended.exit_code == 2
    assert f"'{wrong}' is no dead letter's id" in ended.stderr
    assert "--request-id" in ended.stderr


def test_a_dry_run_changes_nothing(table: DeadLetterStore, queue: redis.Redis) -> None:
    """It says what would be done, and needs no confirmation."""
    _bury(table, 20)

    assert _say("replay", "--dry-run").stdout.endswith("would replay 20\n")
    assert "would replay 20, which takes 40 s" in _say("replay", "--dry-run", "--rate", 0.5).stdout
    found = json.loads(_say("replay", "--dry-run", "--json").stdout)
    assert (found["would_replay"], found["invalid"], found["elsewhere"], found["seconds"]) == (20, 0, 0, None)
    assert (found["by_cause"][0]["rows"], found["by_org"]) == (20, [{"name": "org-1", "summary": "org-1", "rows": 20}])
    assert _say("discard", "--dry-run", "--comment", "x").stdout == "would discard 20\n"
    assert _queued(queue) == []
    assert _states(table) == [State.DEAD] * 20


@pytest.mark.parametrize(
    ("rows", "arguments"),
    [(11, ["replay", "--org", "org-1"]), (1, ["replay"]), (1, ["discard", "--comment", "x"])],
    ids=["many rows", "no filter", "no filter to discard"],
)
def test_where_nobody_can_be_asked_many_rows_need_a_yes(
    table: DeadLetterStore, rows: int, arguments: list[str]
) -> None:
    """A script that forgot its filter replays nothing, and is told what to add."""
    _bury(table, rows)

    ended = _say(*arguments)

    assert ended.exit_code == 2
    assert "--yes" in ended.stderr
    assert _states(table) == [State.DEAD] * rows
    assert _say(*arguments, "--yes").exit_code == 0


@pytest.mark.parametrize(("answer", "states"), [("y", {State.REPLAYING}), ("n", {State.DEAD})])
def test_on_a_terminal_many_rows_are_asked_about(table: DeadLetterStore, answer: str, states: set[State]) -> None:
    """The question names how many; no means that nothing is done."""
    _bury(table, 11)

    said = _on_a_terminal("replay", answers=f"{answer}\n")

    assert "Replay 11 rows?" in said
    assert set(_states(table)) == states


def test_on_a_terminal_long_work_has_a_bar(table: DeadLetterStore) -> None:
    """In a pipe or a log it has none."""
    _bury(table, 11)

    assert "11/11" in _on_a_terminal("replay", "--yes")
    cancelled = CliRunner().invoke(main, ["replays", "cancel", "1"])
    assert cancelled.output == "replay 1 is cancelled: enqueued 11 of 11; 11 on the way\n"
    ended = _say("replay", "--yes", "--state", "replaying")
    assert ended.stdout == "replay 2: enqueued 11 of 11; 11 on the way\n"
    assert "11/11" not in ended.stderr


def test_on_a_terminal_a_list_fits_the_screen(table: DeadLetterStore) -> None:
    """One line a row, cut where the screen ends."""
    _bury(table, 1, response_body="no " + "x" * 100)

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


def test_a_broker_that_is_away_is_said_and_the_plan_waits_for_it(
    table: DeadLetterStore, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, what to do next, and no password; the rows stay dead until it is back, and then they go."""
    _bury(table, 3)
    there = os.environ["FEEDBACK_BROKER_URL"]
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://:hunter2@127.0.0.1:{free_port()}/0")

    ended = _say("replay", "--yes")

    assert (ended.exit_code, ended.stdout) == (1, "replay 1: enqueued 0 of 3\n")
    assert "not followed any more: FEEDBACK_BROKER_URL is redis://:***@127.0.0.1" in ended.stderr
    assert "aquilax-feedback replays show 1" in ended.stderr
    assert "hunter2" not in ended.output
    assert _states(table) == [State.DEAD] * 3
    monkeypatch.setenv("FEEDBACK_BROKER_URL", there)
    _advance(table, queue)
    assert len(_queued(queue)) == 3


def _advance(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Do what workers would: take up every plan that nobody is at, an hour from now."""
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
    _bury(table, 30)
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
    add(table, an_unreadable_burial())

    ended = _say("replay", "--yes")

    assert ended.stdout.startswith("nothing to replay; 1 invalid left out")


def test_a_discard_keeps_the_reason(table: DeadLetterStore) -> None:
    """For whoever reads the row later; a discarded row is not discarded twice."""
    ids = _bury(table, 2)

    assert _say("discard", ids[0], "--comment", "load test").stdout == "discarded 1\n"
    assert json.loads(_say("discard", *ids, "--comment", "another", "--json").stdout) == {"discarded": 1}
    assert [row.comment for row in rows_of(table)] == ["load test", "another"]


def test_a_replay_whose_command_is_killed_goes_on(table: DeadLetterStore, queue: redis.Redis) -> None:
    """Kill -9 at any moment: workers take the plan up, every row goes once, and none is left behind."""
    ids = _bury(table, 600)
    command = [*PROGRAM, "replay", "--yes", "--rate", "100"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    eventually(lambda: queue.llen(LIST), what="the replay is under way")

    run.kill()

    assert run.wait(10) == -signal.SIGKILL
    assert State.DEAD in _states(table), "it was killed before its end"
    _advance(table, queue)
    assert _queued(queue) == ids
    assert _states(table) == [State.REPLAYING] * 600
    assert all(row.replay_enqueued_at and row.replay_count == 1 for row in rows_of(table))


def test_ctrl_c_ends_the_command_and_not_the_replay(table: DeadLetterStore, queue: redis.Redis) -> None:
    """It says what is done and how to look at the rest, and leaves no row half replayed."""
    _bury(table, 50)
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
    assert result["enqueued"] == len(_queued(queue)) == len(confirmed) == _states(table).count(State.REPLAYING)


def test_a_replay_can_be_left_to_the_workers(table: DeadLetterStore, queue: redis.Redis) -> None:
    """The plan is made, and that is all; where no worker runs that is said."""
    _bury(table, 3)

    ended = _say("replay", "--yes", "--no-wait")

    assert (ended.exit_code, ended.stdout) == (0, "replay 1: enqueued 0 of 3\n")
    assert "no worker consumes feedback-replays" in ended.stderr
    _advance(table, queue)
    assert len(_queued(queue)) == 3


def test_a_canary_without_a_worker_is_said_to_wait(table: DeadLetterStore, queue: redis.Redis) -> None:
    """The command does not hang; its exit status says that not all rows went."""
    ids = _bury(table, 3)

    ended = _say("replay", "--yes", "--canary", 1)

    assert (ended.exit_code, ended.stdout) == (1, "replay 1: enqueued 1 of 3; 1 on the way\n")
    assert "no worker consumes feedback-replays" in ended.stderr
    assert _queued(queue) == ids[:1]


def test_rows_of_another_replay_are_left_out_and_said_to_be(table: DeadLetterStore) -> None:
    """Among many it is no failure; asked for by its id it is one."""
    (row_id,) = _bury(table, 1)
    _say("replay", "--yes", "--no-wait")

    for arguments, status in ((["--yes"], 0), ([row_id], 1)):
        ended = _say("replay", *arguments)

        assert (ended.exit_code, ended.stdout) == (
            status,
            "nothing to replay; 1 left out: another replay that has not ended has them\n",
        )


@pytest.mark.usefixtures("table")
def test_what_fits_no_row_is_said_and_a_replay_that_is_not_there_is_refused() -> None:
    """A number that was mistyped would choose nothing, and look as if nothing were left to do."""
    nothing = _say("replay", "--org", "nowhere", "--yes")
    assert (nothing.exit_code, nothing.stdout) == (0, "nothing to replay: no dead letter fits\n")

    for command in (["list"], ["replay", "--yes"], ["discard", "--comment", "x", "--yes"], ["export"]):
        refused = _say(*command, "--rest-of", 7)

        assert refused.exit_code == 2, command
        assert "Invalid value for --rest-of: there is no replay 7" in refused.stderr


def test_an_export_writes_every_row(table: DeadLetterStore, tmp_path: Path) -> None:
    """As NDJSON or CSV, to a file or to standard output."""
    ids = _bury(table, 3)

    assert [json.loads(line)["id"] for line in _say("export").stdout.splitlines()] == ids
    ended = _say("export", "--format", "csv", "--output", tmp_path / "dead.csv", "--limit", 2)
    assert (ended.stdout, ended.stderr) == ("", f"2 rows written to {tmp_path / 'dead.csv'}\n")
    with (tmp_path / "dead.csv").open(newline="") as file:
        assert [int(line["id"]) for line in csv.DictReader(file)] == ids[:2]


def test_an_export_that_fails_leaves_the_old_file(table: DeadLetterStore, tmp_path: Path) -> None:
    """Whole or not at all: half a file would look like all there is."""
    (tmp_path / "dead.ndjson").write_text("before")
    with table.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE dead_letters RENAME TO gone")

    ended = _say("export", "--output", tmp_path / "dead.ndjson")

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
    table.add(a_burial(response_body="x" * 4096))
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

    ended = _say(*command)

    assert ended.exit_code == 1
    assert "aquilax-feedback db upgrade" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 2, the variable, and not its value."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", "oracle+nonsense://u:hunter2@h/d")

    ended = _say("list")

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
    """It asks, or refuses where nobody can answer; and looks first."""
    dead, over, discarded = _bury(table, 3)
    settle(table, over, State.DELIVERED)
    settle(table, discarded, State.DISCARDED)

    assert _say("prune", "--yes", "--json").stdout == '{"pruned": 0, "pruned_replays": 0}\n'
    assert _say("prune", "--older-than", "0s", "--dry-run").stdout.startswith(
        "would prune 2 dead letters and 0 replays that were over before 20"
    )
    refused = _say("prune", "--older-than", "0s")
    assert (refused.exit_code, "this would delete 2 dead letters and 0 replays" in refused.stderr) == (2, True)
    assert len(rows_of(table)) == 3
    assert _say("prune", "--older-than", "0s", "--yes", "--json").stdout == '{"pruned": 2, "pruned_replays": 0}\n'
    assert [row.id for row in rows_of(table)] == [dead]


def test_prune_refuses_what_is_no_time(table: DeadLetterStore) -> None:
    """A number alone may be meant in any unit."""
    ended = _say("prune", "--older-than", "30")

    assert (ended.exit_code, "expected a time" in ended.stderr) == (2, True)
    assert rows_of(table) == []
