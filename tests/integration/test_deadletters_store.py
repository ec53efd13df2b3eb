"""One conformance suite for the dead-letter table, over every database that it promises to work on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, add, an_event, row_of, rows_of, settle
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.models import DeadLetter, State
from worker.dead_letters.store import DeadLetterStore
from worker.operations.attempts import attempts_of
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.dead_letter import DeadLetterRecord, key_of_event, key_of_event_without_time, key_of_raw
from worker.policy.result import ResultKind
from worker.policy.retry import Reason

LATER = NOON + timedelta(hours=1)


def _replaying(store: DeadLetterStore, row_id: int) -> None:
    with store.engine.begin() as connection:
        changes = {"state": State.REPLAYING, "replay_count": DeadLetter.replay_count + 1}
        connection.execute(update(DeadLetter).where(DeadLetter.id == row_id).values(changes))


def test_a_dead_letter_tells_all_that_is_known_of_the_event(store: DeadLetterStore) -> None:
    """Every field of the event and of its death comes back as it went in."""
    event = an_event(request_id=REQUEST_ID, status=False, org="org-1", group="group-1")

    row = row_of(store, add(store, a_record(event, attempts=3, failed_at=LATER)))

    assert (row.request_id, row.status, row.org, row.group) == (REQUEST_ID, False, "org-1", "group-1")
    assert (row.occurred_at, row.first_enqueued_at, row.failed_at) == (NOON, NOON, LATER)
    assert (row.reason, row.http_status, row.attempts) == (Reason.REJECTED, 404, 3)
    assert (row.response_body, row.summary) == ("Request ID not found", "rejected 404: Request ID not found")
    assert (row.state, row.replay_count, row.last_replay_at, row.resolved_at) == (State.DEAD, 0, None, None)
    assert row.dedup_key == key_of_event(event)


def test_the_requests_that_were_sent_before_a_death_stand_in_its_row(store: DeadLetterStore) -> None:
    """A later death of the same event has its own, and one that was never sent has none."""
    attempt = Attempt.of(Response(status=503, text="busy"), at=NOON, worker="w@host", then=ResultKind.RETRY)
    record = a_record(history=(attempt,))

    first = row_of(store, add(store, record))
    again = row_of(store, add(store, replace(record, history=())))

    assert (attempts_of(first), attempts_of(again)) == ((attempt,), ())


def test_adding_an_event_twice_gives_one_row(store: DeadLetterStore) -> None:
    """A message that is delivered again after it died finds its own row."""
    event = an_event()

    first, second = add(store, a_record(event)), add(store, a_record(event))

    assert first == second
    assert len(rows_of(store)) == 1


def test_the_message_that_made_a_row_is_told_so_as_often_as_it_asks(store: DeadLetterStore) -> None:
    """Its worker may have died after the row was written and before it was counted."""
    record = a_record(message_id="tag-1")

    assert [store.add(record), store.add(replace(record, failed_at=LATER))] == [True, True]

    (row,) = rows_of(store)
    assert (row.message_id, row.failed_at) == ("tag-1", LATER)


@pytest.mark.parametrize("second", ["tag-2", "TAG-1", ""])
def test_another_message_of_the_event_has_made_no_row(store: DeadLetterStore, second: str) -> None:
    """The row is counted already, and stays its maker's."""
    event = an_event()

    made = [store.add(a_record(event, message_id=message_id)) for message_id in ("tag-1", second)]

    assert made == [True, False]
    assert [row.message_id for row in rows_of(store)] == ["tag-1"]


def test_without_a_message_id_a_row_is_made_once(store: DeadLetterStore) -> None:
    """Two dead letters without a message_id are not of one message."""
    record = a_record()

    assert [store.add(record), store.add(record)] == [True, False]


def test_a_death_in_a_replay_has_made_no_row(store: DeadLetterStore) -> None:
    """The row was made by the message that died first; where it is gone meanwhile, the replay's makes a new one."""
    event = an_event()
    row_id = add(store, a_record(event, message_id="tag-1"))
    replayed = a_record(event, message_id="tag-2", dead_letter=row_id)

    assert store.add(replayed) is False

    with store.engine.begin() as connection:
        connection.execute(delete(DeadLetter))
    assert [store.add(replayed), store.add(replayed)] == [True, True]
    assert [row.message_id for row in rows_of(store)] == ["tag-2"]


@pytest.mark.parametrize("message_id", ["t" * 65, "a\x00b", "\ud83d", "trailing ", "👎" * 64])
def test_a_message_id_that_no_column_would_take_is_known_again(store: DeadLetterStore, message_id: str) -> None:
    """A foreign client may call its message anything; its event must not wait for ever because of that."""
    record = a_record(message_id=message_id)

    assert [store.add(record), store.add(record)] == [True, True]
    assert store.add(replace(record, message_id=message_id[:-1])) is False


def test_adding_at_the_same_time_gives_one_row(store: DeadLetterStore) -> None:
    """Workers that add one event at once all succeed, and one of them has made its row."""
    records = [a_record(an_event(request_id=REQUEST_ID), message_id=str(number)) for number in range(16)]

    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(store.add, records))

    assert sum(made) == 1
    assert [row.message_id for row in rows_of(store)] == [str(made.index(True))]


def test_many_threads_add_many_events(store: DeadLetterStore) -> None:
    """A rush of deaths from every thread of a worker waits for its turn and loses none."""
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(store.add, [a_record() for _ in range(200)]))

    assert all(made)
    assert len(rows_of(store)) == 200


def test_two_words_on_one_answer_are_two_dead_letters(store: DeadLetterStore) -> None:
    """A changed mind is another event."""
    store.add(a_record(an_event(request_id=REQUEST_ID, status=True)))
    store.add(a_record(an_event(request_id=REQUEST_ID, status=False, occurred_at=LATER)))

    assert len(rows_of(store)) == 2


def test_a_second_death_tells_the_newest_cause_and_keeps_the_first_enqueue(store: DeadLetterStore) -> None:
    """What an operator reads is why it is dead now, and since when it has been on its way."""
    event = an_event()
    row_id = add(store, a_record(event))

    store.add(
        a_record(
            event,
            reason=Reason.EXHAUSTED,
            http_status=503,
            response_body="Service unavailable",
            attempts=60,
            failed_at=LATER,
            first_enqueued_at=LATER,
        )
    )

    row = row_of(store, row_id)
    assert (row.reason, row.http_status, row.attempts, row.failed_at) == (Reason.EXHAUSTED, 503, 60, LATER)
    assert row.summary == "exhausted 503: Service unavailable"
    assert row.first_enqueued_at == NOON


def test_an_event_that_dies_in_its_replay_is_dead_again_and_keeps_its_count(store: DeadLetterStore) -> None:
    """The count of replays belongs to the replay; a death leaves it."""
    event = an_event()
    row_id = add(store, a_record(event))
    _replaying(store, row_id)

    again = add(store, a_record(event, dead_letter=row_id, http_status=403, reason=Reason.FORBIDDEN, failed_at=LATER))

    row = row_of(store, row_id)
    assert again == row_id
    assert (row.state, row.replay_count, row.http_status, row.failed_at) == (State.DEAD, 1, 403, LATER)


def test_a_replayed_event_finds_its_row_by_id_where_its_key_has_changed(store: DeadLetterStore) -> None:
    """An event of a client that gives no time is keyed by its message; its replay has a time and another message."""
    event = an_event()
    row_id = add(store, a_record(event, dedup_key=key_of_event_without_time(event, "tag-1")))
    _replaying(store, row_id)

    again = add(store, a_record(event, dedup_key=key_of_event(event), dead_letter=row_id))

    assert again == row_id
    assert len(rows_of(store)) == 1


def test_an_event_whose_row_is_gone_gets_a_new_one(store: DeadLetterStore) -> None:
    """A table that was emptied during a replay loses no event that dies in it."""
    event = an_event()
    row_id = add(store, a_record(event))
    with store.engine.begin() as connection:
        connection.execute(delete(DeadLetter))

    store.add(a_record(event, dead_letter=row_id))

    assert [row.state for row in rows_of(store)] == [State.DEAD]


def test_a_row_of_another_event_under_the_same_id_is_left_alone(store: DeadLetterStore) -> None:
    """A database restored from a backup may have given the id to another event."""
    other = a_record()
    other_id = add(store, other)

    row_id = add(store, a_record(dead_letter=other_id, http_status=400))

    assert row_id != other_id
    assert row_of(store, other_id).http_status == 404


def test_a_delivered_row_is_not_dead_again(store: DeadLetterStore) -> None:
    """AquilaX has the word; the death of a late copy of its message does not unsay it."""
    event = an_event()
    row_id = add(store, a_record(event))
    settle(store, row_id, State.DELIVERED)

    again = add(store, a_record(event, dead_letter=row_id))

    assert again == row_id
    assert row_of(store, row_id).state is State.DELIVERED


def test_a_discarded_row_stays_discarded_for_a_message_from_before(store: DeadLetterStore) -> None:
    """What an operator has thrown away does not come back by itself."""
    event = an_event()
    row_id = add(store, a_record(event))
    settle(store, row_id, State.DISCARDED, comment="a test of ours")

    assert add(store, a_record(event)) == row_id

    row = row_of(store, row_id)
    assert (row.state, row.comment) == (State.DISCARDED, "a test of ours")


def test_a_discarded_event_that_is_enqueued_again_is_dead_again(store: DeadLetterStore) -> None:
    """What is enqueued after it was discarded is to be delivered; it must not vanish without a trace."""
    event = an_event()
    row_id = add(store, a_record(event))
    settle(store, row_id, State.DISCARDED)

    store.add(a_record(event, first_enqueued_at=datetime.now(UTC) + timedelta(seconds=1)))

    row = row_of(store, row_id)
    assert (row.state, row.resolved_at) == (State.DEAD, None)


@pytest.mark.parametrize("outcome", [State.DELIVERED, State.DISCARDED])
def test_the_outcome_of_a_replay_comes_back_to_its_row(store: DeadLetterStore, outcome: State) -> None:
    """Delivered, or overtaken by a later vote; with the time and the reason."""
    row_id = add(store, a_record())
    _replaying(store, row_id)

    settle(store, row_id, outcome, comment="stale: AquilaX has a later vote")

    row = row_of(store, row_id)
    assert (row.state, row.comment) == (outcome, "stale: AquilaX has a later vote")
    assert row.resolved_at is not None


def test_a_replay_that_ends_twice_ends_as_it_ended_first(store: DeadLetterStore) -> None:
    """A redelivered message that is stale by now does not turn a delivered row into a discarded one."""
    row_id = add(store, a_record())

    settle(store, row_id, State.DELIVERED)
    settle(store, row_id, State.DISCARDED)

    assert row_of(store, row_id).state is State.DELIVERED


def test_delivered_is_the_last_word_also_on_a_discarded_row(store: DeadLetterStore) -> None:
    """A row that was thrown away while its event was on its way says what AquilaX knows."""
    row_id = add(store, a_record())
    settle(store, row_id, State.DISCARDED)

    settle(store, row_id, State.DELIVERED)

    assert row_of(store, row_id).state is State.DELIVERED


def test_the_outcome_of_a_row_that_is_gone_is_nobodys_business(store: DeadLetterStore) -> None:
    """The event is settled; only its row was deleted meanwhile."""
    store.resolve_replay(4711, request_id=REQUEST_ID, state=State.DELIVERED)

    assert rows_of(store) == []


def test_the_outcome_of_another_event_under_the_same_id_is_not_this_ones(store: DeadLetterStore) -> None:
    """A restored database may have given the id again; an event marked delivered by mistake would be lost."""
    row_id = add(store, a_record())

    store.resolve_replay(row_id, request_id=REQUEST_ID, state=State.DELIVERED)

    assert row_of(store, row_id).state is State.DEAD


def test_a_death_is_no_outcome_of_a_replay(store: DeadLetterStore) -> None:
    """A death is inserted, with its cause."""
    with pytest.raises(ValueError, match="not dead"):
        store.resolve_replay(1, request_id=REQUEST_ID, state=State.DEAD)


def test_an_unreadable_message_is_kept_byte_by_byte(store: DeadLetterStore) -> None:
    """There is no event to keep, so the message itself is, whatever bytes it has."""
    raw = b'{"body": "\x00\xff\xfe"} \\ \' " % \x1a'

    row = row_of(store, add(store, _unreadable(raw)))

    assert (row.raw, row.request_id, row.status, row.org) == (raw, None, None, None)
    assert row.reason is Reason.INVALID


def test_of_a_monstrous_message_the_beginning_is_kept(store: DeadLetterStore) -> None:
    """A message that no database takes in one statement must not come back for ever."""
    raw = b"\x00" * (20 * 1024 * 1024)

    row = row_of(store, add(store, _unreadable(raw)))

    assert row.raw == raw[: 1024 * 1024]
    assert row.comment == "the first 1048576 of the message's 20971520 bytes"


def _unreadable(raw: bytes) -> DeadLetterRecord:
    return replace(a_record(), event=None, dedup_key=key_of_raw(raw), reason=Reason.INVALID, raw=raw)


def test_an_answer_that_no_database_would_take_is_taken(store: DeadLetterStore) -> None:
    """NUL, escape sequences, half a surrogate pair, emoji and ten megabytes."""
    row = row_of(store, add(store, a_record(response_body="\x00\x1b[31m\ud83d 👎 ünïcode\r\n" + "x" * 10_000_000)))

    assert row.response_body.startswith("[31m\N{REPLACEMENT CHARACTER} 👎 ünïcode\nxxx")
    assert 4000 < len(row.response_body.encode()) <= 4096


def test_names_are_kept_to_the_last_character(store: DeadLetterStore) -> None:
    """128 characters of any script fit, and quotes are nothing special."""
    org, group = "🦉" * 128, "O'Reilly\\\"%_;--"

    row = row_of(store, add(store, a_record(an_event(org=org, group=group))))

    assert (row.org, row.group) == (org, group)


def test_names_are_told_apart_by_case(store: DeadLetterStore) -> None:
    """`Acme` and `acme` are two orgs, on every database."""
    store.add(a_record(an_event(org="Acme")))

    with Session(store.engine) as session:
        assert session.scalars(select(DeadLetter).where(DeadLetter.org == "acme")).all() == []


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 10, 25, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-7))),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_times_come_back_to_the_microsecond_in_utc(store: DeadLetterStore, moment: datetime) -> None:
    """Whatever offset they came with, and however far they are unavailable."""
    row = row_of(store, add(store, a_record(an_event(occurred_at=moment))))

    assert row.occurred_at == moment
    assert row.occurred_at.tzinfo is UTC


def test_a_table_that_is_missing_means_that_the_event_waits(database_url: str) -> None:
    """To the caller it is one thing whether the server, the permission or the table is missing: not written."""
    with closing(DeadLetterStore.connect(database_url)) as store:
        store.engine.connect().close()  # an SQLite file comes into being so

        with pytest.raises(DeadLetterStoreUnavailable):
            store.add(a_record())
        with pytest.raises(DeadLetterStoreUnavailable):
            store.resolve_replay(1, request_id=REQUEST_ID, state=State.DELIVERED)
