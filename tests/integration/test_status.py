"""`aquilax-feedback status`, as an operator sees it: numbers, words, JSON, and one look after the other."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from producer.message import to_message
from tests.support.dead_letter_records import a_record, add, an_event, settle
from tests.support.places import LONG_FROM_NOW, Places, foreign_message
from tests.support.processes import ROOT, VALKEY, eventually, running
from worker.database.models import State
from worker.dead_letters.replays.lifecycle import pause
from worker.dead_letters.replays.planning import create
from worker.dead_letters.replays.queue import say_watching
from worker.dead_letters.selection import Selection
from worker.operations.cli import main
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from worker.dead_letters.store import DeadLetterStore


pytestmark = pytest.mark.usefixtures("table")


def _status(*options: str) -> Result:
    ended = CliRunner().invoke(main, ["status", *options])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def _record() -> dict[str, Any]:
    ended = _status("--json")
    assert ended.exit_code == 0
    record: dict[str, Any] = json.loads(ended.stdout)
    return record


def _words(ended: Result) -> dict[str, str]:
    """The lines by their labels; those of the single workers are left out."""
    return {line[:14].strip(): line[14:] for line in ended.stdout.splitlines() if line[:14].strip()}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("command", ["status", "doctor", "reconcile", "resume"])
def test_no_text_of_others_turns_a_line_round(places: Places, command: str) -> None:
    """The reason of a hold, and the name of a list, are foreign texts, whatever wrote them."""
    hidden = "x\u202eeurt\u2066\x1b[2J"
    places.client.hset("feedback:hold", mapping={"kind": "operator", "comment": hidden, "actor": hidden, "since": 1})
    places.client.lpush(f"feedback{hidden}3", foreign_message())

    printed = CliRunner().invoke(main, [command]).output

    assert not {"\u202e", "\u2066", "\x1b"} & set(printed)
    assert "x\\u202eeurt" in printed


def test_everything_is_told_in_numbers(places: Places, table: DeadLetterStore) -> None:
    """What waits where, what became of the rest, and what is left to the operator."""
    places.enqueue(5)
    places.schedule(to_message(an_event()), to_message(an_event()))
    places.take(to_message(an_event()), "tag-1", holder="host:1:a")
    ends = {"delivered": 10, "duplicate": 2, "stale": 1, "dead": 4, "revoked": 6, "purged": 7, "written_off": 3}
    places.count(accepted=1236, **ends, dead_rejected=3, dead_invalid=1, retried=50, snoozed=20)
    ids = [add(table, a_record()) for _ in range(3)]
    settle(table, ids[0], State.DELIVERED)

    record = _record()

    assert {name: record[name] for name in ("queued", "scheduled", "in_flight")} == {
        "queued": 5,
        "scheduled": 2,
        "in_flight": 1,
    }
    assert {name: record[name] for name in ends} == ends
    assert (record["accepted"], record["retried"], record["snoozed"]) == (1241, 50, 20)
    assert record["dead_by_reason"] == {"rejected": 3, "forbidden": 0, "exhausted": 0, "invalid": 1}
    assert record["dead_letters"] == {"dead": 2, "replaying": 0, "delivered": 1, "discarded": 0}
    assert (record["redis"], record["database"]) == ({"up": True, "problem": None}, {"up": True, "problem": None})
    (holder,) = record["holders"]
    assert (holder["name"], holder["holds"]) == ("host:1:a", 1)
    assert holder["lease_left_seconds"] > 0
    assert record["hold"] is None


def test_everything_is_told_in_words(places: Places, table: DeadLetterStore) -> None:
    """On one screen."""
    enqueued_at = datetime.now(UTC) - timedelta(hours=3, minutes=12, seconds=30)
    places.client.lpush("feedback", to_message(an_event(), enqueued_at=enqueued_at))
    places.count(accepted=1234, delivered=1000, dead=4, dead_rejected=3, dead_invalid=1)
    places.hold("host:1:a", "tag-1", "tag-2")
    places.hold("host:2:b\x1b[2J", until=1)
    add(table, a_record())

    ended = _status()

    assert ended.exit_code == 0
    words = _words(ended)
    assert words["waiting"] == "1 queued, 0 in flight, 0 scheduled"
    assert words["oldest"] == f"enqueued 3 h 12 min ago, at {enqueued_at:%Y-%m-%d %H:%M:%S} UTC"
    assert words["accepted"] == "1,234"
    assert words["ended"] == "1,000 delivered, 0 duplicate, 0 stale, 4 dead, 0 revoked, 0 purged, 0 written off"
    assert words["died of"] == "3 rejected, 1 invalid"
    assert words["dead letters"] == "1 dead, 0 replaying, 0 delivered, 0 discarded"
    assert words["workers"] == "1, which hold 2"
    assert "host:1:a holds 2, lease for " in ended.stdout
    assert "dead: host:2:b [2J holds 0, lease ended " in ended.stdout
    assert words["rates"].startswith("0.0/s accepted, 0.0/s ended, of these 0.0/s delivered (over 1.")


def test_workers_that_are_all_dead_are_none(places: Places) -> None:
    """Their leases ended, by Redis' clock: what they still hold is told apart, and what to do."""
    places.enqueue(3)
    places.hold("host:1:a.1:w1@host", "tag-1", "tag-2", until=1)

    ended, record = _status(), _record()

    told = _words(ended)["workers"]
    assert told.startswith(
        "no worker is alive; 3 queued, and nothing is delivered; 1 dead, the last one's lease ended "
    )
    assert (
        "start one (`celery -A worker worker`): it returns the 2 that the dead ones hold to the queue" in ended.stdout
    )
    assert "dead: host:1:a.1:w1@host holds 2, lease ended " in ended.stdout
    workers = record["workers"]
    assert (workers["alive"], workers["dead"], workers["held_by_dead"], workers["problem"]) == (0, 1, 2, told)
    assert [(holder["holds"], holder["alive"]) for holder in record["holders"]] == [(2, False)]


def test_two_leases_of_one_process_are_one_worker(places: Places) -> None:
    """It connected again; that is what was in flight before is seen to its end by the lease of before."""
    for name in ("host:1:a.1:w1@host", "host:1:a.2:w1@host", "host:1:b.1:w2@host"):
        places.hold(name)

    assert _record()["workers"]["alive"] == 2


def test_no_worker_is_red_where_something_waits_and_said_quietly_where_nothing_does(places: Places) -> None:
    """A system that was never started has no fault yet."""
    quiet = _record()["workers"]
    places.enqueue()
    loud = _record()["workers"]

    assert (quiet["alive"], quiet["problem"]) == (0, None)
    assert loud["problem"] == "no worker is alive; 1 queued, and nothing is delivered"


def test_replays_that_no_worker_brings_forward_are_told(places: Places, table: DeadLetterStore) -> None:
    """A worker with `-Q feedback` alone delivers, and takes no step of a replay."""
    add(table, a_record())
    plan = create(table.engine, Selection(), actor="a test")
    alone = _status().stdout
    say_watching(places.client)
    watched = _record()["replays"]
    places.client.flushall()
    pause(table.engine, plan.id, actor="a test")
    paused = _record()["replays"]

    assert "no worker consumes feedback-replays: 1 replays wait for one" in alone
    assert "→ start a worker without -Q, or with -Q feedback,feedback-replays" in alone
    assert (watched["active"], watched["problem"]) == (1, None)
    assert (paused["paused"], paused["problem"]) == (1, None)


def test_an_empty_system_is_told_in_words(places: Places) -> None:
    """Nothing is made up about it."""
    assert places.client.dbsize() == 0

    words = _words(_status())

    assert (words["waiting"], words["workers"]) == ("0 queued, 0 in flight, 0 scheduled", "none")
    assert {"oldest", "died of", "hold", "drained"} & set(words) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"probe_at": LONG_FROM_NOW, "probes": 14},
            "401 Unauthorized (locked_out), for 2 h, by host:1, 14 probes, the next one in ",
        ),
        ({"probe_at": 1}, "401 Unauthorized (locked_out), for 2 h, by host:1, 0 probes, the next one now"),
        (
            {"kind": "operator", "comment": "key rotation\x1b[2J"},
            "key rotation [2J (operator), for 2 h, by host:1, no probes: `aquilax-feedback resume` ends it",
        ),
    ],
)
def test_a_hold_says_why_and_when_it_may_end(places: Places, changes: dict[str, Any], words: str) -> None:
    """It is why nothing goes on."""
    since = round((datetime.now(UTC) - timedelta(hours=2, seconds=5)).timestamp() * 1000)
    begun: dict[str, Any] = {"kind": "locked_out", "comment": "401 Unauthorized", "since": since, "probes": 0}
    places.client.hset("feedback:hold", mapping=begun | {"actor": "host:1"} | changes)
    places.enqueue()

    assert _words(_status())["hold"].startswith(words)
    hold = _record()["hold"]
    assert set(hold) == {"kind", "comment", "since", "actor", "probes", "probe_at"}
    assert datetime.fromisoformat(hold["since"]) == datetime.fromtimestamp(since / 1000, UTC)


def test_without_the_database_the_queue_is_still_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the database is named."""
    places.enqueue(3)
    port = free_port()
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", f"postgresql://feedback:hunter2@127.0.0.1:{port}/d")

    ended, record = _status(), _record()

    assert ended.exit_code == 0
    words = _words(ended)
    assert words["waiting"] == "3 queued, 0 in flight, 0 scheduled"
    address = f"postgresql://feedback:***@127.0.0.1:{port}/d"
    assert words["dead letters"].startswith(f"not known: FEEDBACK_DATABASE_URL is {address}: ")
    assert (record["dead_letters"], record["database"]["up"], record["queued"]) == (None, False, 3)


def test_without_redis_the_status_is_1_and_the_table_is_still_told(
    table: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the setting and no password; JSON has every key, and null for what is not known."""
    add(table, a_record())
    port = free_port()
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://:hunter2@127.0.0.1:{port}/0")

    ended, as_json = _status(), _status("--json")

    assert (ended.exit_code, as_json.exit_code) == (1, 1)
    words = _words(ended)
    assert words["redis"].startswith(f"unavailable: FEEDBACK_BROKER_URL is redis://:***@127.0.0.1:{port}/0: ")
    assert words["dead letters"] == "1 dead, 0 replaying, 0 delivered, 0 discarded"
    record = json.loads(as_json.stdout)
    known = {name for name, value in record.items() if value is not None}
    assert known == {"redis", "database", "dead_letters"}
    assert record["redis"]["up"] is False


def test_the_names_are_the_same_whatever_is_away(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads them need not look first."""
    assert places.client.ping()
    names = list(_record())
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://127.0.0.1:{free_port()}/0")

    assert list(json.loads(_status("--json").stdout)) == names


@contextmanager
def _watching(folder: Path, *options: str, **environment: str) -> Iterator[_Watch]:
    """Run `status --watch` until the block ends."""
    output = folder / "status.log"
    command = [sys.executable, "-m", "worker.operations.cli", "status", "--watch", "0.2", *options]
    # A shell that runs the tests in the background lets them ignore Ctrl-C, and their processes with them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with running(command, log=output, env=os.environ | environment, cwd=ROOT) as process:
            yield _Watch(process.process, output)
    finally:
        signal.signal(signal.SIGINT, before)


class _Watch:
    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def records(self) -> list[dict[str, Any]]:
        """What it has printed, line by line."""
        return [json.loads(line) for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def text(self) -> str:
        """The same as it stands there."""
        return self._output.read_text()

    def interrupt(self) -> int:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def test_watching_tells_rates_from_one_look_to_the_next(places: Places, tmp_path: Path) -> None:
    """One object a line; and when the queue will be empty, if it goes on like that."""
    places.enqueue(100)
    with _watching(tmp_path, "--json") as watch:
        eventually(lambda: len(watch.records()) > 1, what="two looks")
        for _ in range(20):
            places.client.rpop("feedback")
            places.count(delivered=1)
        eventually(lambda: watch.records()[-1]["queued"] == 80, what="the change is seen")
        seen = sum(
            record["rates"]["delivered_per_second"] * record["rates"]["over_seconds"] for record in watch.records()
        )
        assert watch.interrupt() == 130

    assert round(seen) == 20
    moving = [record for record in watch.records() if record["rates"]["ended_per_second"]]
    assert moving
    assert all(record["drained_in_seconds"] > 0 for record in moving)


def test_watching_goes_on_when_redis_comes_back(tmp_path: Path) -> None:
    """That is what one watches for."""
    port = free_port()
    command = [VALKEY, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]

    with _watching(tmp_path, "--json", FEEDBACK_BROKER_URL=f"redis://127.0.0.1:{port}/0") as watch:
        eventually(lambda: watch.records() and not watch.records()[-1]["redis"]["up"], what="Redis is unavailable")
        for _ in range(2):
            with running(command, log=tmp_path / "valkey.log"):
                eventually(lambda: watch.records()[-1]["redis"]["up"], what="Redis is back")
            eventually(lambda: not watch.records()[-1]["redis"]["up"], what="Redis is unavailable again")


def test_watching_prints_one_screen_after_the_other(places: Places, tmp_path: Path) -> None:
    """In a pipe there is no terminal to clear."""
    places.enqueue(3)
    with _watching(tmp_path) as watch:
        eventually(lambda: watch.text().count("waiting       3 queued") > 1, what="two looks")
        assert watch.interrupt() == 130
    assert "\x1b" not in watch.text()
    assert "Traceback" not in watch.text()
