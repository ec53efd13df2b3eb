"""`aquilax-feedback replays`, as an operator uses it: a real database, and no worker needed to look or to steer."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from tests.support.dead_letter_records import a_record, add, row_of
from tests.support.plans import Steps
from worker.database.audit_log import actions
from worker.database.models import DeadLetter
from worker.database.replay_models import Replay, ReplayRow, ReplayState, RowState
from worker.database.schema import upgrade
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queries import find, plans
from worker.dead_letters.selection import Selection
from worker.dead_letters.store import DeadLetterStore
from worker.operations.cli import main
from worker.policy.fingerprint import fingerprint_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import RedisServer


@pytest.fixture
def steps(sqlite_url: str, valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """The database and the queue that the command line's settings name."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("FEEDBACK_BROKER_URL", valkey.url)
    upgrade(sqlite_url)
    with closing(DeadLetterStore.connect(sqlite_url)) as store, valkey.client() as client:
        yield Steps(store, client)


def _say(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def _plan(steps: Steps, number: int = 3) -> int:
    for _ in range(number):
        add(steps.store, a_record())
    made = create(steps.store.engine, Selection(orgs=("org-1",)), actor="ann", comment="key fixed", rate=2, canary=1)
    return made.id


def test_replays_are_listed(steps: Steps) -> None:
    """One line each, the newest first; as JSON for programs."""
    first = _plan(steps)
    _say("replays", "cancel", first)
    second = _plan(steps, 1)

    head, newest, oldest = (line.split("\t") for line in _say("replays", "list").stdout.splitlines())

    assert head == ["id", "created (UTC)", "state", "actor", "comment", "outcome"]
    assert (newest[0], newest[2], newest[3], newest[4]) == (str(second), "planned", "ann", "key fixed")
    assert (oldest[0], oldest[2], oldest[5]) == (str(first), "cancelled", "enqueued 0 of 3")
    assert [plan["id"] for plan in json.loads(_say("replays", "list", "--active", "--json").stdout)] == [second]


def _stop(steps: Steps, plan: int, *, dead: int) -> None:
    """As if a canary had died again, of something else."""
    changed = fingerprint_of(Reason.EXHAUSTED, 503, "SourceUnavailable")
    with steps.store.engine.begin() as connection:
        row = (ReplayRow.replay_id == plan, ReplayRow.dead_letter_id == dead)
        connection.execute(update(ReplayRow).where(*row).values(state=RowState.DEAD))
        now = {"fingerprint": changed.fingerprint, "summary": changed.summary}
        connection.execute(update(DeadLetter).where(DeadLetter.id == dead).values(now))
        stopped = {"state": ReplayState.STOPPED, "stopped_because": "row 1, a canary, died again"}
        connection.execute(update(Replay).where(Replay.id == plan).values(stopped))


def test_a_stopped_replay_says_of_what_its_rows_died_and_offers_the_rest(steps: Steps) -> None:
    """The rest are those that it did not send and that are dead; what died again is not among them."""
    plan = _plan(steps)
    _stop(steps, plan, dead=1)

    shown = _say("replays", "show", plan).stdout
    told = json.loads(_say("replays", "show", plan, "--json").stdout)

    assert "died again:         1 of exhausted 503: SourceUnavailable, 1 of them of another cause before" in shown
    assert f"`aquilax-feedback dead-letters replay --rest-of {plan}`" in shown
    assert (told["died_of"][0]["summary"], told["died_of"][0]["rows"], told["left_dead"]) == (
        "exhausted 503: SourceUnavailable",
        1,
        2,
    )
    made = json.loads(
        _say("dead-letters", "replay", "--rest-of", plan, "--yes", "--no-wait", "--json").stdout.splitlines()[0]
    )
    assert (made["replay"]["total"], made["replay"]["selection"]) == (2, {"rest_of": [plan]})
    assert "left out: another replay" in _say("dead-letters", "replay", "--rest-of", plan, "--yes").stdout


def test_a_cancelled_replay_offers_the_rest(steps: Steps) -> None:
    """As a stopped one does."""
    plan = _plan(steps)
    assert _say("replays", "cancel", plan).exit_code == 0
    assert f"`aquilax-feedback dead-letters replay --rest-of {plan}`" in _say("replays", "show", plan).stdout


def test_a_replay_is_scheduled(steps: Steps) -> None:
    """The command waits for nothing, and says when it begins; a time that is over is refused."""
    _plan(steps)
    assert _say("replays", "cancel", 1).exit_code == 0
    refused = _say("dead-letters", "replay", "--at", "2020-01-01", "--yes")
    assert (refused.exit_code, "expected a time to come" in refused.stderr) == (2, True)

    made = _say("dead-letters", "replay", "--at", "2h", "--yes")

    assert made.exit_code == 0
    assert "replay 2: enqueued 0 of 3" in made.stdout
    assert "it begins at 20" in made.stderr
    assert "begins_at:          20" in _say("replays", "show", 2).stdout
    assert json.loads(_say("replays", "show", 2, "--json").stdout)["begins_at"]


def test_a_replay_sends_events_for_another_org(steps: Steps) -> None:
    """It says what changes before it asks; the row, its replay and the command for the rest have it afterwards."""
    add(steps.store, a_record())
    for option, value in (("--set-org", ""), ("--set-group", "a\tb")):
        refused = _say("dead-letters", "replay", option, value, "--yes")
        assert (refused.exit_code, option in refused.stderr) == (2, True)
    assert not plans(steps.store.engine)

    edit = ("--set-org", "org 2", "--canary", 1)
    assert "org becomes org 2 in 1 of 1" in _say("dead-letters", "replay", *edit, "--dry-run").stdout
    seen = json.loads(_say("dead-letters", "replay", *edit, "--dry-run", "--json").stdout)
    assert seen["edited"] == [{"field": "org", "value": "org 2", "rows": 1}]
    assert row_of(steps.store, 1).org == "org-1"
    made = _say("dead-letters", "replay", *edit, "--yes", "--no-wait")
    assert "org becomes org 2 in 1 of 1" in made.stderr
    assert "set_org:            org 2" in _say("replays", "show", 1).stdout

    assert _say("replays", "cancel", 1).exit_code == 0
    assert "dead-letters replay --rest-of 1 --set-org 'org 2'`" in _say("replays", "show", 1).stdout

    steps.run(create(steps.store.engine, Selection(), actor="ann", edit=Edit(org="org 2")))
    shown = _say("dead-letters", "show", 1).stdout
    assert ("org:                org 2\n" in shown, "original_org:       org-1\n" in shown) == (True, True)


def test_one_replay_is_shown_whole(steps: Steps) -> None:
    """How far it is, who did what and why, and its rows."""
    plan = _plan(steps)
    _say("replays", "pause", plan, "--actor", "bob", "--comment", "lunch")

    shown = _say("replays", "show", plan).stdout

    for line in (
        "state:              paused",
        "outcome:            enqueued 0 of 3",
        'rows:               {"orgs": ["org-1"]}',
        "rate:               2 a second",
        "canary:             1",
        "actor:              ann",
        "comment:            key fixed",
    ):
        assert line in shown
    assert "pause by bob: lunch" in shown
    assert shown.splitlines()[-3].split("\t")[:3] == ["1", "yes", "waiting"]


def test_one_replay_is_shown_as_json(steps: Steps) -> None:
    """With its rows and actions; chosen by what became of them."""
    plan = _plan(steps)
    steps.run(find(steps.store.engine, plan))

    shown = json.loads(_say("replays", "show", plan, "--json", "--row-state", "enqueued").stdout)

    assert (shown["state"], shown["progress"]["enqueued"], shown["total"]) == ("canary", 1, 3)
    assert [row["dead_letter_id"] for row in shown["rows"]] == [1]
    assert [action["action"] for action in shown["actions"]] == ["replay.create"]


def test_a_replay_is_steered(steps: Steps) -> None:
    """Each order says what has become of it."""
    plan = _plan(steps)

    assert _say("replays", "pause", plan).stdout == f"replay {plan} is paused: enqueued 0 of 3\n"
    assert _say("replays", "resume", plan).stdout == f"replay {plan} is planned: enqueued 0 of 3\n"
    assert _say("replays", "cancel", plan).stdout == f"replay {plan} is cancelled: enqueued 0 of 3\n"


@pytest.mark.parametrize(
    ("command", "comment"),
    [
        (["resume", 1], "replay 1 is planned: it can't be resumed"),
        (["pause", 9], "there is no replay 9"),
        (["show", 9], "there is no replay 9"),
    ],
)
def test_what_can_not_be_done_is_said(steps: Steps, command: list[object], comment: str) -> None:
    """With exit status 1."""
    _plan(steps)

    ended = _say("replays", *command)

    assert (ended.exit_code, ended.stderr) == (1, f"Error: {comment}\n")


def test_a_hold_and_its_end_are_written_down(steps: Steps) -> None:
    """With who said so and why; a resume that found no hold did nothing."""
    _say("hold", "--comment", "maintenance", "--actor", "ann")
    _say("resume", "--actor", "bob", "--comment", "done")
    _say("resume")

    resumed, held = actions(steps.store.engine)
    assert (held.actor, held.action, held.target, held.comment) == ("ann", "hold", "queue", "maintenance")
    assert (resumed.actor, resumed.action, resumed.comment) == ("bob", "resume", "done")


def test_a_hold_needs_no_database(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In trouble delivery is stopped all the same; that it is not written down is said, and no file is made."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.sqlite3")

    ended = _say("hold", "--comment", "maintenance")

    assert ended.exit_code == 0
    assert "not written down who did it" in ended.stderr
    assert steps.client.exists("feedback:hold")
    assert not (tmp_path / "elsewhere.sqlite3").exists()
