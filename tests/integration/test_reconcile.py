"""`aquilax-feedback reconcile`, as an operator runs it: its verdict, its exit status, and what it fixes."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, text, update

from producer.message import to_message
from tests.support.dead_letter_records import a_record, add, an_event, row_of, rows_of, settle
from tests.support.places import Places, request_id_of
from worker.accounting.documents import RECONCILE_KEYS
from worker.database.models import DeadLetter, State
from worker.dead_letters.pruning import prune
from worker.operations.cli import main
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared")


LONG_AGO = datetime(2026, 3, 1, 12, tzinfo=UTC)
EQUATION = (
    "{accepted} accepted = 0 delivered + 0 duplicate + 0 stale + 0 dead + 0 revoked + 0 purged + {written_off} written "
    "off + {queued} queued + 0 in flight + 0 scheduled"
)


def _reconcile(*options: str, patience: float = 0) -> Result:
    ended = CliRunner().invoke(main, ["reconcile", "--patience", str(patience), *options])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def _record(*options: str) -> dict[str, Any]:
    ended = _reconcile("--json", *options)
    record: dict[str, Any] = json.loads(ended.stdout)
    assert record["status"] == ended.exit_code
    assert set(record) == set(RECONCILE_KEYS)
    return record


def _add_row(places: Places, table: DeadLetterStore, message_id: str = "tag-1") -> int:
    """An event comes, dies, and is counted."""
    row_id = add(table, a_record(message_id=message_id))
    places.count(accepted=1, dead=1, dead_rejected=1, dead_letters_inserted=1)
    return row_id


def _replaying(table: DeadLetterStore, row_id: int, *, since: datetime = LONG_AGO) -> None:
    with table.engine.begin() as connection:
        marked = {"state": State.REPLAYING, "last_replay_at": since}
        connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(marked))


@pytest.mark.usefixtures("table")
def test_what_adds_up_is_proved_by_the_numbers(places: Places) -> None:
    """The first line is the verdict, and an operator can add it up."""
    places.enqueue(3)

    ended = _reconcile()

    assert ended.exit_code == 0
    assert ended.stdout.splitlines() == [
        f"balanced: {EQUATION.format(accepted=3, written_off=0, queued=3)}; nothing lost",
        "dead letters: 0 inserted, 0 of these in the table; in all 0 dead, 0 replaying, 0 delivered, 0 discarded",
    ]


@pytest.mark.usefixtures("table")
def test_a_message_that_is_nowhere_is_missing_until_it_is_written_off(places: Places) -> None:
    """The run that fixes it still says that something was wrong; the next one says that all is in order."""
    places.enqueue(3)
    places.client.rpop("feedback")

    found, fixed, again = _reconcile(), _reconcile("--repair"), _reconcile("--repair")

    assert (found.exit_code, fixed.exit_code, again.exit_code) == (1, 1, 0)
    classification = f"does not balance: {EQUATION.format(accepted=3, written_off=0, queued=2)} + 1 missing"
    assert found.stdout.splitlines()[0] == fixed.stdout.splitlines()[0] == classification
    assert fixed.stdout.splitlines()[-2:] == [
        "repaired: wrote off missing messages: 1",
        "run it again to see that everything is in order",
    ]
    assert again.stdout.startswith(f"balanced: {EQUATION.format(accepted=3, written_off=1, queued=2)}; 1 written off")


@pytest.mark.usefixtures("table")
def test_every_fault_in_redis_is_named_and_mended(places: Places) -> None:
    """By its delivery tag, and where there is one by its request_id."""
    (message,) = places.enqueue()
    places.client.delete("feedback")
    places.take(message, "tag-1", index=False)
    places.client.hset("unacked", "tag-2", "rubbish")
    places.client.zadd("unacked_index", {"tag-3": 1})
    places.hold("host:1:a", "tag-4")

    found = _reconcile()
    record = _record("--repair")

    assert found.exit_code == 1
    assert found.stdout.splitlines()[1:-1] == [
        "under no lease, and not in the queue (--repair returns them): 1",
        f"  tag-1, request_id {request_id_of(message)}",
        "under no lease, and unreadable (--repair returns them): 1",
        "  tag-2",
        "in the index, but not in flight (--repair drops them): 1",
        "  tag-3",
        "held, but not in flight (--repair drops them): 1",
        "  tag-4, held by host:1:a",
    ]
    assert record["balances"] is True
    assert record["orphaned"] == [{"delivery_tag": "tag-1", "request_id": request_id_of(message)}]
    assert record["unreadable"] == [{"delivery_tag": "tag-2"}]
    assert record["dangling_index"] == [{"delivery_tag": "tag-3"}]
    assert record["dangling_held"] == [{"delivery_tag": "tag-4", "holder": "host:1:a"}]
    assert len(record["repaired"]) == 4
    after = _reconcile()
    assert after.exit_code == 0
    assert "no messages in the queue, which a worker will dead-letter as invalid: 1" in after.stdout.splitlines()


@pytest.mark.usefixtures("table")
def test_of_many_some_are_named_and_json_names_all(places: Places) -> None:
    """A terminal is not flooded."""
    for number in range(25):
        places.take(to_message(an_event()), f"tag-{number}", index=False)
    places.count(accepted=25)

    lines = _reconcile().stdout.splitlines()

    assert lines.count("  and 5 more: --json names all") == 1
    assert len([line for line in lines if line.startswith("  tag-")]) == 20
    assert len(_record()["orphaned"]) == 25


@pytest.mark.usefixtures("table")
def test_what_a_terminal_would_carry_out_is_not_printed(places: Places) -> None:
    """A delivery tag is a foreign client's text."""
    places.take(to_message(an_event()), "\x1b[2Jtag", index=False)

    assert "\x1b" not in _reconcile().stdout


@pytest.mark.usefixtures("table")
def test_what_is_wrong_for_a_moment_only_is_not_accused(places: Places) -> None:
    """A worker has ended a message, and lets go of it a little later."""
    places.enqueue()
    places.hold("host:1:a", "tag-1")
    later = threading.Timer(1, places.client.delete, ["unacked_held:host:1:a"])
    later.start()

    ended = _reconcile(patience=30)
    later.join()

    assert ended.exit_code == 0


def test_a_dead_letter_that_is_gone_from_the_table_is_missed(places: Places, table: DeadLetterStore) -> None:
    """An operator deleted the row, or restored the database of yesterday; --repair writes it off."""
    first, second = (_add_row(places, table, message_id) for message_id in ("tag-1", "tag-2"))
    assert _reconcile().exit_code == 0
    with table.engine.begin() as connection:
        connection.execute(delete(DeadLetter).where(DeadLetter.id == first))

    record = _record("--repair")

    assert record["status"] == 1
    assert record["dead_letters"] == {
        "inserted": 2,
        "rows": 1,
        "pruned": 0,
        "missing": 1,
        "by_state": {"dead": 1, "replaying": 0, "delivered": 0, "discarded": 0},
        "by_reason": {"rejected": 1, "forbidden": 0, "exhausted": 0, "invalid": 0},
        "stuck_replaying": [],
    }
    assert record["repaired"] == ["wrote off dead letters that are not in the table any more: 1"]
    assert _reconcile().exit_code == 0
    assert [row.id for row in rows_of(table)] == [second]


def test_a_dead_letter_that_was_pruned_is_not_missed(places: Places, table: DeadLetterStore) -> None:
    """It was inserted, counted, delivered after all, and forgotten; what is deleted by hand is missed all the same."""
    first, second = (_add_row(places, table, message_id) for message_id in ("tag-1", "tag-2"))
    settle(table, first, State.DELIVERED)
    assert prune(table.engine, datetime.now(UTC)).dead_letters == 1

    ended, record = _reconcile(), _record()

    assert (ended.exit_code, record["dead_letters"]["pruned"], record["dead_letters"]["missing"]) == (0, 1, 0)
    assert "dead letters: 2 inserted, 1 of these in the table and 1 pruned; in all 1 dead, " in ended.stdout
    with table.engine.begin() as connection:
        connection.execute(delete(DeadLetter).where(DeadLetter.id == second))
    assert _record()["dead_letters"]["missing"] == 1


def test_a_record_that_is_about_to_be_counted_is_not_accused(places: Places, table: DeadLetterStore) -> None:
    """Its row is written first: on a system in which events die, there is one at any moment."""
    _add_row(places, table)
    add(table, a_record(message_id="tag-2"))
    counted = threading.Timer(
        0.5, places.count, kwargs={"accepted": 1, "dead": 1, "dead_rejected": 1, "dead_letters_inserted": 1}
    )
    counted.start()

    ended = _reconcile(patience=30)
    counted.join()

    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[1:] == [
        "dead letters: 1 inserted, 1 of these in the table; in all 2 dead, 0 replaying, 0 delivered, 0 discarded"
    ]


def test_a_replay_that_ends_while_it_is_looked_for_is_not_accused(places: Places, table: DeadLetterStore) -> None:
    """Its outcome comes into its row within the patience."""
    row_id = _add_row(places, table)
    _replaying(table, row_id)
    ended_later = threading.Timer(1.5, settle, [table, row_id, State.DELIVERED])
    ended_later.start()

    ended = _reconcile(patience=30)
    ended_later.join()

    assert ended.exit_code == 0, ended.stdout


def test_a_row_that_was_not_counted_is_no_loss(places: Places, table: DeadLetterStore) -> None:
    """Its worker is about to count it, or Redis has lost its counts: said, and not accused."""
    _add_row(places, table)
    add(table, a_record(message_id="tag-2"))

    ended = _reconcile()

    assert ended.exit_code == 0
    assert "dead letters in the table that were not counted: 1" in ended.stdout


def test_a_replay_that_is_nowhere_is_named_and_its_row_dead_again(places: Places, table: DeadLetterStore) -> None:
    """Redis lost its message, or it was purged; no outcome would ever come."""
    row_id = _add_row(places, table)
    _replaying(table, row_id)

    found, fixed, again = _reconcile(), _reconcile("--repair"), _reconcile()

    assert (found.exit_code, fixed.exit_code, again.exit_code) == (1, 1, 0)
    named = ["dead letters whose replay is nowhere (--repair puts them back to dead): 1", f"  {row_id}"]
    assert found.stdout.splitlines()[-2:] == named
    assert f"repaired: put dead letter {row_id} back to dead: its replay was nowhere to be found" in fixed.stdout
    assert row_of(table, row_id).state is State.DEAD


def test_a_replay_in_flight_is_in_order(places: Places, table: DeadLetterStore) -> None:
    """Also one that was marked a moment ago, and is not in the queue yet."""
    queued, marked = (_add_row(places, table, message_id) for message_id in ("tag-1", "tag-2"))
    places.enqueue(dead_letter=queued)
    _replaying(table, queued)
    _replaying(table, marked, since=datetime.now(UTC) - timedelta(seconds=5))

    assert _reconcile("--repair").exit_code == 0
    assert {row.state for row in rows_of(table)} == {State.REPLAYING}


def test_without_the_table_half_can_be_told(places: Places, table: DeadLetterStore) -> None:
    """The equation needs Redis alone. That it holds is not all, so the status is 2; that it does not is enough."""
    places.enqueue()
    with table.engine.begin() as connection:
        connection.execute(text("DROP TABLE dead_letters"))

    ended = _reconcile()

    assert ended.exit_code == 2
    balanced, unknown = ended.stdout.splitlines()
    assert balanced.startswith("balanced: 1 accepted")
    assert unknown.startswith("can't tell about dead letters: FEEDBACK_DATABASE_URL is sqlite:///")
    record = _record()
    assert (record["dead_letters"], record["database"]["up"]) == (None, False)
    places.client.delete("feedback")
    assert _reconcile("--repair").exit_code == 1
    assert _reconcile().exit_code == 2


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nowhere/dead-letters.sqlite3", "run `aquilax-feedback db upgrade`"),
        ("postgresql://feedback:hunter2@127.0.0.1:{port}/d", "the dead-letter database failed"),
        ("oracle://feedback:hunter2@127.0.0.1/d", "whose driver oracledb is not installed"),
    ],
)
@pytest.mark.usefixtures("places")
def test_a_database_that_cannot_be_used_is_named(url: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, and without its password."""
    monkeypatch.setenv("FEEDBACK_DATABASE_URL", url.format(port=free_port()))

    ended = _reconcile("--repair")

    assert ended.exit_code == 2
    assert words in ended.stdout
    assert "hunter2" not in ended.stdout


@pytest.mark.usefixtures("table")
def test_without_redis_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the message says which setting names it."""
    port = free_port()
    monkeypatch.setenv("FEEDBACK_BROKER_URL", f"redis://:hunter2@127.0.0.1:{port}/0")

    ended = _reconcile("--repair")
    record = _record()

    assert ended.exit_code == 2
    assert ended.stdout.startswith(f"can't tell: FEEDBACK_BROKER_URL is redis://:***@127.0.0.1:{port}/0: ")
    assert (record["redis"]["up"], record["balances"], record["missing"], record["repaired"]) == (False, None, None, [])


@pytest.mark.usefixtures("table")
def test_what_redis_refuses_to_mend_is_said(places: Places) -> None:
    """Its memory is full: what was found stays found, and nothing is claimed to be fixed."""
    places.enqueue(2)
    places.client.rpop("feedback")
    with _full(places):
        ended = _reconcile("--repair")

    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[0].endswith("+ 1 missing")
    assert "can't tell: FEEDBACK_BROKER_URL" not in ended.stdout
    assert ended.stdout.splitlines()[-1].startswith("not all was repaired: FEEDBACK_BROKER_URL is redis://127.0.0.1:")
    assert _reconcile().exit_code == 1


@contextmanager
def _full(places: Places) -> Iterator[None]:
    """A Redis without any room, which the tests share."""
    places.client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        places.client.config_set("maxmemory", 0)


def test_what_the_database_refuses_to_mend_is_said(places: Places, table: DeadLetterStore) -> None:
    """It is a replica that is read-only, say; what Redis needed is fixed all the same."""
    places.enqueue()
    places.client.delete("feedback")
    row_id = _add_row(places, table)
    _replaying(table, row_id)
    with table.engine.begin() as connection:
        connection.execute(text(_READ_ONLY))

    ended = _reconcile("--repair")

    assert ended.exit_code == 1
    assert "repaired: wrote off missing messages: 1" in ended.stdout.splitlines()
    assert "not all was repaired: FEEDBACK_DATABASE_URL is sqlite:///" in ended.stdout
    assert row_of(table, row_id).state is State.REPLAYING


_READ_ONLY = "CREATE TRIGGER read_only BEFORE UPDATE ON dead_letters BEGIN SELECT RAISE(ABORT, 'read-only'); END"


def test_a_wrong_setting_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with every command."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "amqp://localhost")

    ended = _reconcile()

    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "FEEDBACK_BROKER_URL" in ended.stderr
