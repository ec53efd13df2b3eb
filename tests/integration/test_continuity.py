"""A Redis that lost its data, and an operator's hold with it: noticed, said, and taken as it is on the record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.support.dead_letter_records import a_record, add
from worker.accounting.continuity import Kind, look_at_continuity, record
from worker.database.audit_log import actions
from worker.database.redis_generations import recorded_generations
from worker.delivery.hold import Hold, HoldKind
from worker.operations.cli import main
from worker.operations.doctor.balance import look_at_books, look_at_redis_data
from worker.operations.doctor.finding import Level
from worker.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.places import Places
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared")


def _run(*command: str) -> Result:
    ended = CliRunner().invoke(main, command)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def _reconcile(*options: str) -> Result:
    return _run("reconcile", "--patience", "0", *options)


def _levels() -> dict[str, Level]:
    return {finding.check: finding.level for finding in look_at_redis_data(load_settings())}


def test_the_first_redis_is_in_order(places: Places, table: DeadLetterStore) -> None:
    """Nothing is known of it, so nothing is lost; from then on it is known."""
    places.enqueue(2)

    assert _levels() == {"broker data": Level.GREEN}
    assert record(places.partitions, table.engine).kind is Kind.FIRST
    assert _reconcile().exit_code == 0
    assert record(places.partitions, table.engine).kind is Kind.SAME


def test_an_emptied_redis_is_told_and_taken_on_the_record(places: Places, table: DeadLetterStore) -> None:
    """FLUSHALL, or a lost volume: how many are missing at least, since when, and what to do; its totals go on."""
    add(table, a_record(message_id="tag-1"))
    places.enqueue(5)
    places.count(accepted=1, dead=1, dead_rejected=1, dead_letters_inserted=1)
    record(places.partitions, table.engine)
    places.client.flushall()
    places.enqueue(2)

    found, status = _reconcile(), _run("status").stdout
    levels, kind = _levels(), look_at_continuity(places.partitions, table.engine).kind
    in_status = json.loads(_run("status", "--json").stdout)["redis_data"]
    fixed, again = _reconcile("--repair"), _reconcile()

    assert (found.exit_code, kind, levels["broker data"]) == (1, Kind.NEW, Level.RED)
    assert (in_status["kind"], in_status["missing_at_least"]) == ("new", 5)
    assert found.stdout.splitlines()[0].endswith("; but Redis has lost data")
    assert "missing since then: 5 at least, unless some of them ended around the loss" in found.stdout
    assert "(--repair takes Redis as it is, and writes that down)" in found.stdout
    assert "missing since then: 5 at least" in status
    assert "took Redis as it is, with the totals of before carried on; written off: 5" in fixed.stdout
    assert (fixed.exit_code, again.exit_code) == (1, 0)
    assert again.stdout.startswith("balanced: 8 accepted = 0 delivered + 0 duplicate + 0 stale + 1 dead + ")
    assert again.stdout.splitlines()[0].endswith("; 5 written off")
    assert "dead letters: 1 inserted, 1 of these in the table" in again.stdout
    (action,) = actions(table.engine)
    assert (action.action, action.details["missing_at_least"]) == ("redis.accept", 5)


def test_an_older_copy_is_told_and_taken_on_the_record(places: Places, table: DeadLetterStore) -> None:
    """The same generation, and totals that went back: no count stays lower than it was, and the books balance."""
    places.enqueue(3)
    record(places.partitions, table.engine)
    copy = {key: places.client.dump(key) or b"" for key in places.client.keys()}  # noqa: SIM118 - Redis' own command
    places.client.lpop("feedback")
    places.count(delivered=1)
    places.enqueue(4)
    record(places.partitions, table.engine)
    places.client.flushall()
    for key, dumped in copy.items():
        places.client.restore(key, 0, dumped)

    found = _reconcile()
    fixed, again = _reconcile("--repair"), json.loads(_reconcile("--json").stdout)

    assert (found.exit_code, fixed.exit_code, again["status"]) == (1, 1, 0)
    assert "Redis is an older copy" in found.stdout
    assert "missing since then: 3 at least" in found.stdout
    equation = {name: again[name] for name in ("accepted", "delivered", "queued", "written_off", "missing")}
    assert equation == {"accepted": 7, "delivered": 1, "queued": 3, "written_off": 3, "missing": 0}
    assert again["redis_data"]["kind"] == "same"


def test_what_workers_had_in_flight_is_not_written_off(places: Places, table: DeadLetterStore) -> None:
    """A worker ends what it holds although Redis was emptied: that is not missing, and the books balance at once."""
    places.enqueue(5)
    record(places.partitions, table.engine)
    places.client.flushall()
    places.count(delivered=2)
    places.enqueue_foreign()

    found, fixed, again = _reconcile(), _reconcile("--repair"), json.loads(_reconcile("--json").stdout)

    assert "missing since then: 2 at least" in found.stdout
    assert "written off: 3" in fixed.stdout
    equation = {
        name: again[name] for name in ("accepted", "delivered", "queued", "uncounted", "written_off", "missing")
    }
    assert equation == {"accepted": 5, "delivered": 2, "queued": 1, "uncounted": 1, "written_off": 3, "missing": 0}


@pytest.mark.parametrize(("flushed", "written_off"), [(True, 2), (False, 0)])
def test_foreign_messages_that_no_worker_had_counted_are_written_off_if_they_are_gone(
    places: Places, table: DeadLetterStore, flushed: bool, written_off: int
) -> None:
    """They were not accepted yet, and lost all the same: the books never say afterwards that nothing was lost."""
    places.enqueue_foreign(2)
    record(places.partitions, table.engine)
    places.client.flushall() if flushed else places.client.delete("feedback:counts")

    fixed, again = _reconcile("--repair"), json.loads(_reconcile("--json").stdout)

    assert f"written off: {written_off}" in fixed.stdout
    equation = {name: again[name] for name in ("status", "accepted", "uncounted", "written_off", "missing")}
    accepted, uncounted = (2, 0) if flushed else (0, 2)
    assert equation == {
        "status": 0,
        "accepted": accepted,
        "uncounted": uncounted,
        "written_off": written_off,
        "missing": 0,
    }


def test_counts_that_were_deleted_write_off_no_message_that_is_there(places: Places, table: DeadLetterStore) -> None:
    """The totals go on from those that the database knows, and what waits is accepted as before."""
    places.enqueue(3)
    record(places.partitions, table.engine)
    places.client.delete("feedback:counts")

    found, fixed, again = _reconcile(), _reconcile("--repair"), json.loads(_reconcile("--json").stdout)

    assert (found.exit_code, fixed.exit_code, again["status"]) == (1, 1, 0)
    assert "written off: 0" in fixed.stdout
    assert (again["accepted"], again["queued"], again["written_off"]) == (3, 3, 0)


def test_data_that_was_given_up_is_told_when_it_comes_back(places: Places, table: DeadLetterStore) -> None:
    """An operator took another Redis in its place: what came since then is not in it, although its own totals fit."""
    places.enqueue(1)
    record(places.partitions, table.engine)
    copy = {key: places.client.dump(key) or b"" for key in places.client.keys()}  # noqa: SIM118 - Redis' own command
    places.client.flushall()
    _reconcile("--repair")
    places.enqueue(4)
    record(places.partitions, table.engine)
    places.client.flushall()
    for key, dumped in copy.items():
        places.client.restore(key, 0, dumped)

    found, fixed, again = _reconcile(), _reconcile("--repair"), json.loads(_reconcile("--json").stdout)

    assert (found.exit_code, fixed.exit_code, again["status"]) == (1, 1, 0)
    assert "Redis is an older copy" in found.stdout
    assert "missing since then: 3 at least" in found.stdout
    assert (again["accepted"], again["queued"], again["written_off"]) == (5, 1, 4)


def test_the_doctor_writes_nothing_of_it(places: Places, table: DeadLetterStore) -> None:
    """It looks at the books, and leaves it to a worker to write down what Redis has."""
    places.enqueue()

    findings = {finding.check: finding.level for finding in look_at_books(load_settings())}

    assert findings["books"] is Level.GREEN
    assert recorded_generations(table.engine) == []
    assert not places.client.hexists("feedback:counts", "generation")


def test_a_missing_database_is_not_made_by_looking(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SQLite file that was moved away is not replaced by an empty one."""
    assert places
    file = tmp_path / "moved-away.sqlite3"
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", f"sqlite:///{file}")

    assert _levels() == {}
    assert not file.exists()


def test_a_loss_stays_told_until_it_is_taken(places: Places, table: DeadLetterStore) -> None:
    """What workers record meanwhile does not hide it."""
    places.enqueue()
    record(places.partitions, table.engine)
    places.client.flushall()

    assert [record(places.partitions, table.engine).kind for _ in range(2)] == [Kind.NEW, Kind.NEW]
    assert _reconcile().exit_code == 1


def test_a_hold_by_hand_that_redis_lost_stands_again(places: Places, table: DeadLetterStore) -> None:
    """Nothing is handed out while an operator's hold is meant to stand; until it does the doctor is red."""
    hold = Hold(places.client, actor="")
    _run("hold", "--comment", "AquilaX migrates", "--actor", "ann")
    said = hold.state()
    places.client.flushall()

    levels, status = _levels(), _run("status").stdout
    record(places.partitions, table.engine)

    assert levels["hold by hand"] is Level.RED
    assert "Redis has lost the hold by hand: AquilaX migrates, by ann" in status
    state = hold.state()
    assert state is not None
    assert said is not None
    assert (state.kind, state.comment, state.actor) == (HoldKind.OPERATOR, "AquilaX migrates", "ann")
    assert state.since == said.since, "it stands since the operator said it"
    assert "hold by hand" not in _levels()


def test_a_resume_that_the_database_did_not_hear_of_holds(places: Places, table: DeadLetterStore) -> None:
    """Redis counts the changes: what it knows later is not undone by what the database knows."""
    hold = Hold(places.client, actor="")
    hold.hold("maintenance", actor="ann")
    record(places.partitions, table.engine)

    hold.resume()
    record(places.partitions, table.engine)

    assert hold.state() is None
    places.client.flushall()
    assert record(places.partitions, table.engine).lost_hold is None


def test_what_operators_gave_up_is_no_nothing_lost(places: Places, table: DeadLetterStore) -> None:
    """The verdict names what was written off, purged and revoked."""
    assert table
    places.enqueue()
    places.count(accepted=6, written_off=1, purged=2, revoked=3)

    assert _reconcile().stdout.splitlines()[0].endswith("; 1 written off, 2 purged, 3 revoked")
