"""Many dead letters and outcomes in one transaction: each has its own result, and a refused one fails alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, event, select
from sqlalchemy.exc import OperationalError

from tests.support.dead_letter_records import a_record, an_event, rows_of
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.models import DeadLetter, State
from worker.dead_letters import group_commit
from worker.dead_letters.group_commit import Disowning, Insertion, MadeOutcome, ReplayOutcome, commit

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import Connection

    from worker.dead_letters.store import DeadLetterStore
    from worker.policy.dead_letter import DeadLetterRecord

NUMBERS = range(20)


def numbered(number: int) -> DeadLetterRecord:
    """The dead letter of a message of its own."""
    return a_record(an_event(request_id=f"{number:08x}-0000-4000-8000-000000000000"), message_id=f"message-{number}")


def keys(store: DeadLetterStore) -> list[str]:
    """The message ids of all rows."""
    with store.engine.connect() as connection:
        return sorted(connection.scalars(select(DeadLetter.message_id)))


def test_a_group_is_one_transaction(store: DeadLetterStore) -> None:
    """Each write says that its message made a new row."""
    begun: list[object] = []
    event.listen(store.engine, "commit", begun.append)

    assert commit(store.engine, [Insertion(numbered(number)) for number in NUMBERS]) == [True] * len(NUMBERS)

    assert len(begun) == 1
    assert len(rows_of(store)) == len(NUMBERS)


def test_rows_that_are_there_are_found_in_the_same_group(store: DeadLetterStore) -> None:
    """A message that comes again is told so; another one of the same event is not."""
    commit(store.engine, [Insertion(numbered(number)) for number in NUMBERS])
    again = [Insertion(numbered(1)), Insertion(replace(numbered(2), message_id="another")), Insertion(numbered(99))]

    assert commit(store.engine, again) == [True, False, True]

    assert len(rows_of(store)) == len(NUMBERS) + 1


def test_one_event_twice_in_a_group_is_one_row(store: DeadLetterStore) -> None:
    """The first makes it; the later one finds it, and its cause is the one that stays."""
    later = replace(numbered(1), message_id="another", response_body="the later cause")

    assert commit(store.engine, [Insertion(numbered(1)), Insertion(later)]) == [True, False]

    [row] = rows_of(store)
    assert (row.message_id, row.response_body) == (numbered(1).message_id, "the later cause")


def test_a_refused_row_fails_alone(store: DeadLetterStore) -> None:
    """Whatever the reason: here a column has no room for a value that no database takes."""
    writes = [Insertion(numbered(number)) for number in NUMBERS]
    writes[7] = Insertion(replace(numbered(7), attempts=10**30))

    results = commit(store.engine, writes)

    assert isinstance(results[7], Exception)
    assert [result for number, result in enumerate(results) if number != 7] == [True] * (len(NUMBERS) - 1)
    assert len(rows_of(store)) == len(NUMBERS) - 1


def test_a_row_that_another_process_inserts_meanwhile_is_updated(
    store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the insertion; the rest of the group is inserted all the same."""
    rows = group_commit._Rows

    def look(connection: Connection, records: list[Any]) -> Any:
        found = rows(connection, records)
        monkeypatch.setattr(group_commit, "_Rows", rows)
        commit(store.engine, [Insertion(replace(numbered(3), message_id="theirs"))])
        return found

    monkeypatch.setattr(group_commit, "_Rows", look)

    assert commit(store.engine, [Insertion(numbered(number)) for number in NUMBERS]) == [n != 3 for n in NUMBERS]
    assert len(rows_of(store)) == len(NUMBERS)


def test_a_row_that_is_deleted_meanwhile_is_inserted(store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruning runs beside the workers."""
    commit(store.engine, [Insertion(numbered(1))])
    rows = group_commit._Rows

    def look(connection: Connection, records: list[Any]) -> Any:
        found = rows(connection, records)
        monkeypatch.setattr(group_commit, "_Rows", rows)
        with store.engine.begin() as other:
            other.execute(delete(DeadLetter))
        return found

    monkeypatch.setattr(group_commit, "_Rows", look)
    commit(store.engine, [Insertion(numbered(1)), Insertion(numbered(2))])

    assert keys(store) == ["message-1", "message-2"]


def test_a_database_that_is_unavailable_is_asked_once_for_a_group(
    store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further try would wait for its timeout again."""
    tries: list[int] = []

    def unavailable(_: object, writes: list[Any], _recent: object) -> Any:
        tries.append(len(writes))
        raise OperationalError("select 1", {}, Exception("gone"))

    monkeypatch.setattr(group_commit, "_together", unavailable)

    results = commit(store.engine, [Insertion(numbered(number)) for number in NUMBERS])

    assert tries == [len(NUMBERS)]
    assert all(isinstance(result, DeadLetterStoreUnavailable) for result in results)


def test_outcomes_of_many_kinds_go_together(store: DeadLetterStore) -> None:
    """Each reaches its own row, and no row of another event."""
    commit(store.engine, [Insertion(numbered(number)) for number in range(5)])
    ids = {row.message_id: row.id for row in rows_of(store)}

    def outcome(number: int, state: State, request_id: str = "") -> ReplayOutcome:
        return ReplayOutcome(
            dead_letter_id=ids[f"message-{number}"],
            request_id=request_id or numbered(number).event.request_id,  # type: ignore[union-attr]  # each has its event
            replay=None,
            state=state,
            comment="",
        )

    results = commit(
        store.engine,
        [
            outcome(0, State.DELIVERED),
            outcome(1, State.DISCARDED),
            outcome(2, State.DELIVERED, request_id=an_event().request_id),
            MadeOutcome(
                dedup_key=numbered(3).dedup_key, message_id="message-3", state=State.DELIVERED, comment="it came again"
            ),
            MadeOutcome(dedup_key="none", message_id="none", state=State.DELIVERED, comment=""),
            Disowning(dedup_key=numbered(4).dedup_key, message_id="message-4", comment="not ours"),
        ],
    )

    assert results == [True, True, True, True, False, True]
    states = {row.id: (row.state, row.comment) for row in rows_of(store)}
    assert [states[ids[f"message-{number}"]] for number in range(5)] == [
        (State.DELIVERED, ""),
        (State.DISCARDED, ""),
        (State.DEAD, ""),
        (State.DELIVERED, "it came again"),
        (State.DELIVERED, "not ours"),
    ]
