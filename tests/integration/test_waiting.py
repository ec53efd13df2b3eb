"""Messages that wait for their time: seen, sent now and made dead letters now, in a real Valkey and a real Redis."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.dead_letter_records import NOON, an_event
from tests.support.places import LONG_FROM_NOW, Places, foreign_message, places_of, request_id_of
from tests.support.waiting import ENVELOPE, REFUSAL, a_retry, wait
from worker.accounting.reconcile import reconcile
from worker.broker.scripts import FETCH
from worker.clients.redis.partitions import Partitions
from worker.database.audit_log import actions
from worker.database.errors import DeadLetterStoreUnavailable
from worker.database.models import DeadLetter, State
from worker.operations.waiting import control as control_module
from worker.operations.waiting import moves
from worker.operations.waiting.control import Chosen, Done, WaitingControl
from worker.operations.waiting.listing import Cursor, WaitingFilter, causes_of, look_at, page_of
from worker.operations.waiting.message import MessageId, WaitingMessage
from worker.policy.dead_letter import key_of_message
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.message import Message, read_message
from worker.policy.retry import Reason, SendToDeadLetters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

pytestmark = pytest.mark.usefixtures("keys_are_declared")


@pytest.fixture
def places(broker: RedisServer) -> Iterator[Places]:
    """The places of an empty queue."""
    with places_of(broker) as places:
        yield places


def control_of(places: Places, table: DeadLetterStore) -> WaitingControl:
    """An operator."""
    return WaitingControl(partitions=places.partitions, database=lambda: nullcontext(table.engine), actor="op")


def rows_of(table: DeadLetterStore) -> list[DeadLetter]:
    """The dead letters."""
    with Session(table.engine) as session:
        return list(session.scalars(select(DeadLetter).order_by(DeadLetter.id)))


def queued(places: Places) -> list[bytes]:
    """The queue, what is handed out next first."""
    return cast("list[bytes]", places.client.lrange("feedback", 0, -1))[::-1]


def in_order(places: Places, table: DeadLetterStore) -> bool:
    """Whether `reconcile` finds nothing wrong."""
    report = reconcile(places.partitions, lambda: table.engine, patience=timedelta(), sleep=lambda _: None)
    return not report.is_wrong and report.is_certain


def everything(places: Places) -> list[WaitingMessage]:
    """What waits, what is due first first."""
    return list(look_at(places.partitions).messages)


# Looking


def test_what_is_due_first_is_first_in_all_places_and_pages_leave_nothing_out(places: Places) -> None:
    """Over priorities and partitions, many of one moment included; each exactly once, however small a look is."""
    for number in range(23):
        wait(places, a_retry(), due=1000 * (number % 7), priority=(0, 3, 6, 9)[number % 4])
    places.client.zadd("{feedback:01.20}feedback:delayed", {a_retry(): 3000.5, a_retry(): 3000})
    partitions = two_partitions(places)
    try:
        shown: list[WaitingMessage] = []
        after: Cursor | None = None
        while True:
            found = page_of(look_at(partitions, after=after, limit=1), WaitingFilter(), size=4)
            shown += found.messages
            if found.after is None:
                break
            after = Cursor.read(str(found.after))
    finally:
        places.client.key_prefix = ""  # type: ignore[attr-defined]  # as `with_prefix` sets it

    assert len({(one.place, one.entry) for one in shown}) == len(shown) == 25
    assert [one.due for one in shown] == sorted(one.due for one in shown)


def two_partitions(places: Places) -> Partitions:
    """The queue without a tag as the first one, and one with a tag."""
    other = type(places.client)(connection_pool=places.client.connection_pool)
    other.key_prefix = "{feedback:01.20}"  # type: ignore[attr-defined]  # as `with_prefix` sets it
    return Partitions([places.client, other])


def test_filters_and_causes_are_of_what_can_be_read(places: Places) -> None:
    """Whatever else stands there: bytes that are no message wait because of their client."""
    wait(places, a_retry(org="a"), a_retry(org="b"), a_retry(org="a", waits=WaitReason.BUSY), b"\xff\x00", b"[]")
    look = look_at(places.partitions)

    causes = causes_of(look.messages, WaitingFilter())
    of_a = page_of(look, WaitingFilter(orgs=("a",), causes=("retry",)), size=10)

    assert {one.cause: (one.messages, one.orgs) for one in causes} == {
        "retry": (2, {"a": 1, "b": 1}),
        "busy": (1, {"a": 1}),
        "client": (2, {"": 2}),
    }
    assert (look.total, look.is_whole, [(one.org, one.attempts) for one in of_a.messages]) == (5, True, [("a", 2)])


def test_what_aquilax_could_not_take_is_told_apart_by_its_last_response(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """As the dead letters are, so that what waits now can be found among them later."""
    refused = ENVELOPE.tried(REFUSAL)
    wait(places, a_retry(refused), a_retry(refused), a_retry(refused, waits=WaitReason.REDIS), a_retry())

    look = look_at(places.partitions)
    causes = causes_of(look.messages, WaitingFilter())
    cause = causes[0].cause
    control_of(places, sqlite_store).dead_letter_now(Chosen(filter=WaitingFilter(causes=(cause,))), "too late")

    assert [(one.waits, one.response, one.messages) for one in causes] == [
        ("retry", "503: Downstream service <n> unavailable", 2),
        ("redis", "", 1),
        ("retry", "", 1),
    ]
    assert [(row.fingerprint, row.http_status) for row in rows_of(sqlite_store)] == 2 * [(cause, 503)]
    assert look.messages[0].to_record()["last"]["status"] == 503


# Sending now


def test_a_message_that_is_sent_now_is_the_next_one_and_waits_no_more(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """What was due first goes first; without its time, for a worker would let it wait again. No account changes."""
    places.enqueue(1)
    first, second = a_retry(), a_retry()
    wait(places, first, second)
    before = places.client.hgetall("feedback:counts")

    done = control_of(places, sqlite_store).send_now(Chosen(), "AquilaX is back")

    assert (done.messages, done.on_their_way, places.client.zcard("feedback:delayed")) == (2, 0, 0)
    heads = queued(places)[:2]
    assert [request_id_of(entry) for entry in heads] == [request_id_of(first), request_id_of(second)]
    assert all("eta" not in json.loads(entry)["headers"] for entry in heads)
    assert places.client.hgetall("feedback:counts") == before
    assert in_order(places, sqlite_store)
    (action,) = actions(sqlite_store.engine)
    assert (action.action, action.actor, action.comment, action.details["messages"]) == (
        "waiting.send_now",
        "op",
        "AquilaX is back",
        2,
    )


def test_a_message_of_protocol_1_loses_the_time_in_its_body(places: Places, sqlite_store: DeadLetterStore) -> None:
    """Where a worker would find it; the body stays in its encoding."""
    task = {
        "task": "feedback.deliver",
        "id": "i",
        "args": [],
        "kwargs": an_event().to_wire(),
        "eta": "2100-01-01T00:00:00",
    }
    body = b64encode(json.dumps(task).encode()).decode()
    info = {"body_encoding": "base64", "delivery_info": {}, "delivery_tag": "t"}
    wait(places, json.dumps({"body": body, "headers": {}, "properties": info}).encode(), counted=False)

    control_of(places, sqlite_store).send_now(Chosen(), "now")

    (entry,) = queued(places)
    assert WaitingMessage(place=everything_is_at(), due=0, entry=entry).body() == task | {"eta": None}


def everything_is_at() -> Any:
    """The place of the only list."""
    return MessageId.read("0-0-1-" + 16 * "0").place


def test_what_a_worker_has_fetched_meanwhile_is_on_its_way(places: Places, sqlite_store: DeadLetterStore) -> None:
    """Nothing is said to be done that was not, and nothing is there twice."""
    wait(places, a_retry(), a_retry())
    ids = tuple(one.id for one in everything(places))
    places.client.zremrangebyrank("feedback:delayed", 0, 0)

    sent = control_of(places, sqlite_store).send_now(Chosen(ids=ids), "now")
    again = control_of(places, sqlite_store).send_now(Chosen(ids=tuple(MessageId.read(str(one)) for one in ids)), "now")

    assert (sent.messages, sent.on_their_way, again.messages, again.on_their_way) == (1, 1, 0, 2)
    assert places.client.llen("feedback") == 1


@pytest.mark.parametrize("at_once", [1, 3, 200])
def test_all_that_fit_go_in_steps_and_the_others_stay(
    places: Places, sqlite_store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """However many share one moment, and wherever a step ends among them."""
    monkeypatch.setattr(control_module, "_AT_ONCE", at_once)
    for moment in (1000, 1000, 1000, 2000, 3000, 3000):
        wait(places, a_retry(org="a"), due=LONG_FROM_NOW + moment)
        wait(places, a_retry(org="b"), due=LONG_FROM_NOW + moment, priority=9)
        wait(places, a_retry(org="b"), due=LONG_FROM_NOW + moment)

    done = control_of(places, sqlite_store).send_now(Chosen(filter=WaitingFilter(orgs=("b",))), "now")

    assert (done.messages, {one.org for one in everything(places)}, look_at(places.partitions).total) == (12, {"a"}, 6)
    assert in_order(places, sqlite_store)


def test_a_database_that_is_away_does_not_keep_a_message_from_being_sent(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """It is said that the audit log does not have it."""
    wait(places, a_retry())
    fail(sqlite_store)

    done = control_of(places, sqlite_store).send_now(Chosen(), "now")

    assert (done.messages, done.to_record()["recorded"]) == (1, False)


def test_what_was_sent_and_failed_again_meanwhile_is_not_sent_twice(
    places: Places, sqlite_store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker lets it wait for a time that this has not come to yet."""
    monkeypatch.setattr(control_module, "_AT_ONCE", 1)
    wait(places, a_retry(org="late"), due=LONG_FROM_NOW + 1000)
    wait(places, a_retry(org="soon"))
    failed = a_retry(ENVELOPE.tried(replace(REFUSAL, at=datetime.now(UTC) + timedelta(hours=1))), org="again")

    def fail_again(done: Done) -> None:
        if done.messages == 1:
            wait(places, failed, due=LONG_FROM_NOW - 1000)

    done = control_of(places, sqlite_store).send_now(Chosen(), "now", progress=fail_again)

    assert (done.messages, [one.org for one in everything(places)]) == (2, ["again"])


def fail(table: DeadLetterStore, *, on: str = "INSERT") -> None:
    """Let the database refuse statements from now on."""

    def refuse(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(on):
            raise DeadLetterStoreUnavailable("the disk is full")

    sqlalchemy_event.listen(table.engine, "before_cursor_execute", refuse)


# Dead letters now


def test_a_message_becomes_a_dead_letter_once_and_everything_adds_up(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """With its attempts and the operator's reason; counted in the step in which it is removed."""
    wait(places, a_retry(org="a"), a_retry(org="b"))

    done = control_of(places, sqlite_store).dead_letter_now(Chosen(filter=WaitingFilter(orgs=("a",))), "they left us")

    (row,) = rows_of(sqlite_store)
    assert (row.org, row.state, row.reason, row.attempts, row.comment) == (
        "a",
        State.DEAD,
        Reason.EXHAUSTED,
        2,
        "they left us",
    )
    assert (done.messages, [one.org for one in everything(places)]) == (1, ["b"])
    assert [places.counted(name) for name in ("dead", "dead:exhausted", "dead_letters_inserted")] == [1, 1, 1]
    assert in_order(places, sqlite_store)


def test_what_had_only_its_dead_letter_left_keeps_what_it_died_of(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """The database was away when AquilaX refused it."""
    pending = SendToDeadLetters(reason=Reason.REJECTED, http_status=404, response="Request ID not found")
    message = a_retry(Envelope(enqueued_at=NOON, message_id="m", attempts=1, pending_dead_letter=pending))
    wait(places, message)

    control_of(places, sqlite_store).dead_letter_now(Chosen(), "the database is back")

    (row,) = rows_of(sqlite_store)
    assert (row.reason, row.http_status, row.response_body, row.attempts) == (
        Reason.REJECTED,
        404,
        "Request ID not found",
        1,
    )
    assert in_order(places, sqlite_store)


def test_a_message_of_a_foreign_client_is_counted_once(places: Places, sqlite_store: DeadLetterStore) -> None:
    """It was never handed out, so that its end is the first that is counted of it."""
    wait(places, foreign_message(), foreign_message(), counted=False)

    control_of(places, sqlite_store).dead_letter_now(Chosen(), "not wanted")

    assert (places.counted("accepted"), places.counted("dead"), len(rows_of(sqlite_store))) == (2, 2, 2)
    assert in_order(places, sqlite_store)


def test_what_aquilax_has_or_can_not_be_read_is_refused_and_stays(
    places: Places, sqlite_store: DeadLetterStore
) -> None:
    """A row of it would say that it was not delivered, or lose a part of it."""
    has_it = a_retry(Envelope(enqueued_at=NOON, message_id="m", attempts=1, delivered=True))
    no_event = json.loads(a_retry())
    no_event["body"] = '[[],{"request_id":"nonsense"},{}]'
    wait(places, has_it, json.dumps(no_event).encode(), b"rubbish")

    done = control_of(places, sqlite_store).dead_letter_now(Chosen(), "all of it")

    assert (done.messages, done.not_taken, places.client.zcard("feedback:delayed"), rows_of(sqlite_store)) == (
        0,
        3,
        3,
        [],
    )
    assert [
        "AquilaX has it" in text or "no event" in text or "can't be read" in text for text in done.problems
    ] == 3 * [True]


def test_a_database_that_refuses_leaves_all_as_it_was(places: Places, sqlite_store: DeadLetterStore) -> None:
    """Byte for byte, and in the accounts."""
    messages = [a_retry(), foreign_message()]
    wait(places, *messages, counted=False)
    before = places.client.zrange("feedback:delayed", 0, -1, withscores=True)
    fail(sqlite_store, on="INSERT INTO dead_letters ")

    with pytest.raises(DeadLetterStoreUnavailable):
        control_of(places, sqlite_store).dead_letter_now(Chosen(), "now")

    assert places.client.zrange("feedback:delayed", 0, -1, withscores=True) == before
    assert places.counted("accepted") == 0


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("killed_before", ["commit", "end"])
def test_cut_short_a_worker_writes_the_same_row_and_sends_nothing(
    places: Places, sqlite_store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch, killed_before: str
) -> None:
    """Between the mark and the row, or between the row and its count: the message says what is left to do."""
    wait(places, a_retry())

    def die(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(control_module, killed_before, die)
    with pytest.raises(Killed):
        control_of(places, sqlite_store).dead_letter_now(Chosen(), "now")

    message = fetched(places)
    assert message.envelope.pending_dead_letter == SendToDeadLetters(
        reason=Reason.EXHAUSTED, response="dead-lettered by an operator while it waited for its time"
    )
    assert message.redelivered
    rows = rows_of(sqlite_store)
    made = [(message.envelope.message_id, key_of_message(message))] if killed_before == "end" else []
    assert [(row.message_id, row.dedup_key) for row in rows] == made


def fetched(places: Places) -> Message:
    """The only message, once it is due, as a worker reads it."""
    (entry,) = cast("list[bytes]", places.client.zrange("feedback:delayed", 0, -1))
    places.client.zadd("feedback:delayed", {entry: 1})
    keys = ["unacked", "unacked_index", "unacked_leases", "unacked_held:w"]
    keys += ["feedback", "feedback:delayed", "feedback:counts", "feedback:hold"]
    _, _, [[_, tag, taken, _]] = FETCH(places.client, keys, ["w", 60_000, 1, "feedback", "1"])
    payload = json.loads(taken)
    args, kwargs, _ = json.loads(payload["body"])
    header = payload["headers"]["feedback"]
    redelivered = payload["headers"].get("redelivered") is True
    found = read_message(
        args, kwargs, header, received_at=datetime.now(UTC), delivery_tag=tag.decode(), redelivered=redelivered
    )
    assert isinstance(found, Message)
    return found


def test_a_worker_that_gets_it_between_the_row_and_its_count_counts_it(
    places: Places, sqlite_store: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is not removed here, and so not counted here; that worker finds the row, and counts both."""
    wait(places, a_retry())

    def come_too_late(*arguments: Any) -> list[bool]:
        fetched(places)
        return moves.end(*arguments)

    monkeypatch.setattr(control_module, "end", come_too_late)
    done: Done = control_of(places, sqlite_store).dead_letter_now(Chosen(), "now")

    assert (done.messages, places.counted("dead"), places.client.hlen("unacked"), len(rows_of(sqlite_store))) == (
        1,
        0,
        1,
        1,
    )
