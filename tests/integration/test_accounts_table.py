"""What the accounts ask of the dead-letter table, over every database that it promises to work on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, update

from tests.support.dead_letter_records import a_record, add, an_event, row_of, rows_of, settle
from worker.accounting.table_counts import count_by_state, look_at_table, put_back_to_dead, replaying
from worker.database.models import DeadLetter, State
from worker.dead_letters.columns import new_row
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from worker.accounting.table_counts import Replaying
    from worker.dead_letters.store import DeadLetterStore

LONG_AGO = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _add_row(store: DeadLetterStore, message_id: str = "", **changes: Any) -> int:
    return add(store, a_record(message_id=message_id, **changes))


def _mark(store: DeadLetterStore, *row_ids: int, at: datetime | None = LONG_AGO) -> None:
    """As a replay marks rows."""
    with store.engine.begin() as connection:
        marked = {"state": State.REPLAYING, "last_replay_at": at, "replay_count": DeadLetter.replay_count + 1}
        connection.execute(update(DeadLetter).where(DeadLetter.id.in_(row_ids)).values(marked))


def _ids(rows: set[Replaying]) -> set[int]:
    return {row.row_id for row in rows}


def test_rows_are_counted_by_state_and_by_reason(store: DeadLetterStore) -> None:
    """Every state and every reason is named, also if there is none."""
    ids = [_add_row(store, str(number)) for number in range(4)]
    _add_row(store, "4", reason=Reason.FORBIDDEN, http_status=403)
    _mark(store, ids[0])
    settle(store, ids[1], State.DELIVERED)
    settle(store, ids[2], State.DISCARDED)

    table = look_at_table(store.engine)

    assert table.by_state == {"dead": 2, "replaying": 1, "delivered": 1, "discarded": 1}
    assert table.by_state == count_by_state(store.engine)
    assert table.by_reason == {"rejected": 4, "forbidden": 1, "exhausted": 0, "invalid": 0}
    assert table.made == 5


def test_an_empty_table_is_counted_too(store: DeadLetterStore) -> None:
    """It says nothing, and not None."""
    table = look_at_table(store.engine)

    assert (table.made, set(table.by_state.values()), set(table.by_reason.values())) == (0, {0}, {0})


def test_rows_from_before_there_were_counts_are_left_out(store: DeadLetterStore) -> None:
    """They were not counted when they were made, and are no surplus."""
    _add_row(store)
    _add_row(store, "tag-1")

    table = look_at_table(store.engine)

    assert (table.made, sum(table.by_state.values())) == (1, 2)


def test_a_row_that_was_just_marked_has_time(store: DeadLetterStore) -> None:
    """Its event may not be in the queue yet; a minute later it is, or never."""
    just_now, a_while_ago, long_ago, dead = (_add_row(store) for _ in range(4))
    now = datetime.now(UTC)
    _mark(store, just_now, at=now - timedelta(seconds=5))
    _mark(store, a_while_ago, at=now - timedelta(seconds=70))
    _mark(store, long_ago)

    assert _ids(replaying(store.engine)) == {a_while_ago, long_ago}
    assert dead


def test_a_row_without_a_time_of_its_mark_has_none(store: DeadLetterStore) -> None:
    """It was written by hand."""
    row_id = _add_row(store)
    _mark(store, row_id, at=None)

    assert _ids(replaying(store.engine)) == {row_id}


def test_stuck_rows_are_dead_again(store: DeadLetterStore) -> None:
    """They keep their counts of replays, and say why."""
    with store.engine.begin() as connection:
        connection.execute(insert(DeadLetter), [new_row(a_record()) for _ in range(1200)])
    ids = [row.id for row in rows_of(store)]
    _mark(store, *ids[:600])
    _mark(store, *ids[600:], at=LONG_AGO + timedelta(microseconds=1))

    assert put_back_to_dead(store.engine, replaying(store.engine)) == ids

    rows = rows_of(store)
    assert {(row.state, row.replay_count, row.comment) for row in rows} == {
        (State.DEAD, 1, "reconcile: its replay was nowhere to be found")
    }
    assert replaying(store.engine) == set()


def test_a_row_that_moved_on_meanwhile_is_left_alone(store: DeadLetterStore) -> None:
    """Its outcome came, it was replayed again, or it is gone: between the look and the repair."""
    delivered, replayed, gone, unmarked = (_add_row(store, event=an_event()) for _ in range(4))
    _mark(store, delivered, replayed, gone)
    _mark(store, unmarked, at=None)
    found = replaying(store.engine)
    settle(store, delivered, State.DELIVERED)
    _mark(store, replayed, at=LONG_AGO + timedelta(hours=1))
    with store.engine.begin() as connection:
        connection.execute(delete(DeadLetter).where(DeadLetter.id == gone))

    assert put_back_to_dead(store.engine, found) == [unmarked]

    assert (row_of(store, delivered).state, row_of(store, replayed).state) == (State.DELIVERED, State.REPLAYING)


def test_nothing_stuck_is_nothing_done(store: DeadLetterStore) -> None:
    """Not even a query."""
    store.close()

    assert put_back_to_dead(store.engine, []) == []
