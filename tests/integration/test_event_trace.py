"""What became of one press: every place that it can be in is found, by its whole request_id and by its beginning."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from producer.message import to_message
from producer.outbox import create_table, insert
from producer.spool import Spool
from tests.support.dead_letter_records import NOON, REQUEST_ID, a_record, add, an_event
from tests.support.partitions import enqueue_in, message_of, opened, request_id_of_partition
from tests.support.places import Places, foreign_message, request_id_of
from worker.accounting import message_search
from worker.accounting.message_search import Whereabouts, search_messages
from worker.broker.set_aside import moment_of
from worker.database.engine import connect
from worker.delivery.idempotency import Claimed, IdempotencyStore
from worker.delivery.org_holds import OrgHolds, org_scope
from worker.delivery.remembered import Remembered, remembered
from worker.operations.cli import main
from worker.policy.attempt import Attempt
from worker.policy.classification import Response
from worker.policy.envelope import Envelope, WaitReason
from worker.policy.result import ResultKind

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import RedisServer
    from worker.dead_letters.store import DeadLetterStore

EVENT = an_event(request_id=REQUEST_ID)
BUSY = Response(status=503, text="Downstream service unavailable", took=timedelta(milliseconds=41))
ATTEMPT = Attempt.of(BUSY, at=NOON + timedelta(seconds=2), worker="w@host", then=ResultKind.RETRY)
TRIED = Envelope(enqueued_at=NOON + timedelta(seconds=1), message_id="m", attempts=1, history=(ATTEMPT,))

HOLDER = "host:7:a.1:w@host"


def trace(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["trace", *arguments])


def told(*arguments: str) -> dict[str, Any]:
    """What it prints as JSON."""
    found: dict[str, Any] = json.loads(trace(REQUEST_ID, "--json", *arguments).stdout)
    return found


def message(envelope: Envelope | None = None) -> bytes:
    """The message of the event, as a worker publishes it again."""
    return to_message(EVENT, envelope={} if envelope is None else envelope.to_header())


@pytest.fixture(autouse=True)
def _elsewhere(places: Places, table: DeadLetterStore) -> None:
    """A queue and a table in which others are, too."""
    places.enqueue(5)
    places.schedule(foreign_message())
    places.take(foreign_message(), "another")
    add(table, a_record())


def test_a_press_that_is_nowhere_is_not_known() -> None:
    """It says what that can mean, and the exit status tells programs."""
    ended = trace(REQUEST_ID)

    assert ended.exit_code == 1
    assert ended.stdout.startswith("Nothing is known of it: it was never enqueued here, or it was delivered more than ")
    assert told()["known"] is False


def test_a_queued_press_is_found_with_what_comes_before_it(places: Places) -> None:
    """Whatever its priority, and however many were enqueued since."""
    places.client.lpush("feedback", message())
    places.enqueue(3)
    places.client.lpush("feedback\x06\x166", message())

    ended = trace(REQUEST_ID)

    assert ended.exit_code == 0
    assert ended.stdout.splitlines()[:2] == ["👍 true is queued: 5 are handed out before it.", "👍 true is queued."]
    assert [one["ahead"] for one in told()["messages"]] == [5, 0]


def test_a_press_that_waits_says_until_when_and_for_what(places: Places) -> None:
    """With its last response, and every attempt in the timeline."""
    places.schedule(message(TRIED.waiting(WaitReason.RETRY)))

    said = trace(REQUEST_ID).stdout

    assert said.startswith(
        "👍 true waits until 2100-01-01 00:00:00 UTC after 1 attempt: AquilaX could not take it "
        "(503 Downstream service unavailable).\n"
    )
    assert said.split("\n\n")[1].splitlines() == [
        "2026-03-01 12:00:00 UTC  👍 true pressed",
        "2026-03-01 12:00:01 UTC  enqueued",
        "2026-03-01 12:00:02 UTC  sent by w@host: 503 Downstream service unavailable after 41 ms; to be retried",
        "2100-01-01 00:00:00 UTC  to be handed out again",
    ]


def test_a_press_in_flight_says_with_which_worker(places: Places) -> None:
    """And one that no worker owns, that it comes back."""
    places.take(message(TRIED), "1772366400000-0123456789abcdef.1-1", holder=HOLDER)

    (owned,) = told()["messages"]
    places.client.delete(f"unacked_held:{HOLDER}")

    assert (owned["where"], owned["holder"], owned["since"]) == ("in_flight", HOLDER, "2026-03-01T12:00:00+00:00")
    assert "is in flight, and no worker owns it: it comes back to the queue after 1 attempt" in trace(REQUEST_ID).stdout


def test_a_hold_is_told_with_what_it_keeps_in_the_queue(places: Places) -> None:
    """That is why a press that is queued did not arrive."""
    places.client.lpush("feedback", message())
    places.client.hset("feedback:hold", mapping={"kind": "operator", "comment": "AquilaX migrates"})

    assert trace(REQUEST_ID).stdout.startswith(
        "👍 true is queued: 5 are handed out before it. Everything is held: AquilaX migrates.\n"
    )


def test_a_press_of_a_held_org_says_whose_hold_it_waits_for(places: Places) -> None:
    """It has no time: thousands of years from now is none. Once the hold has ended it goes back."""
    holds = OrgHolds(places.client, actor="me")
    holds.hold("org-1", "they migrate", actor="ann")
    places.schedule(message(TRIED), due=moment_of(org_scope("org-1")))

    held, record = trace(REQUEST_ID), told()
    holds.resume(org_scope("org-1"))

    assert held.stdout.startswith(
        "👍 true is set aside after 1 attempt: nothing of the org org-1 is sent: they migrate.\n"
    )
    assert "to be handed out" not in held.stdout
    assert [(one["due"], one["set_aside"]) for one in record["messages"]] == [(None, True)]
    assert [hold["scope"] for hold in record["org_holds"]] == ["org:org-1"]
    assert "its hold has ended: it goes back to the queue" in trace(REQUEST_ID).stdout


def test_a_delivered_press_says_until_when_that_is_remembered(places: Places) -> None:
    """After that nothing would be known of it."""
    store = IdempotencyStore(places.client, ttl=timedelta(days=7), lease=timedelta(seconds=40))
    claim = store.claim(EVENT, message_id="m")
    assert isinstance(claim, Claimed)
    claimed = remembered(places.client, REQUEST_ID, now=datetime.now(UTC))
    store.record(EVENT, claim, message_id="m")

    found = remembered(places.client, REQUEST_ID, now=datetime.now(UTC))
    late = remembered(places.client, REQUEST_ID, now=datetime.now(UTC) + timedelta(days=8))

    assert claimed.until is None
    assert claimed.sending_for is not None
    assert (found.status, found.occurred_at, found.unsure, found.sending_for) == (True, NOON, False, None)
    assert found.until is not None
    assert timedelta(days=6) < found.until - datetime.now(UTC) <= timedelta(days=7)
    assert late == Remembered()
    assert trace(REQUEST_ID).stdout.startswith(
        "Delivered: AquilaX has 👍 true, pressed at 2026-03-01 12:00:00 UTC. "
        f"That is remembered until {found.until:%Y-%m-%d %H:%M:%S} UTC.\n"
    )


def test_a_press_is_remembered_however_many_buckets_there_are(places: Places) -> None:
    """Each is in the bucket of its digest."""
    store = IdempotencyStore(places.client, ttl=timedelta(days=7), lease=timedelta(seconds=40))
    events = [an_event() for _ in range(600)]
    for event in events:
        claim = store.claim(event, message_id="m")
        assert isinstance(claim, Claimed)
        store.record(event, claim, message_id="m")

    assert int(places.client.get("feedback:dedup") or 1) > 1
    found = [remembered(places.client, event.request_id, now=datetime.now(UTC)) for event in events]
    assert all(one.status and one.occurred_at == NOON for one in found)


def test_a_dead_letter_is_told_with_its_attempts(table: DeadLetterStore) -> None:
    """And with what it died of."""
    row = add(table, a_record(EVENT, history=(ATTEMPT,), failed_at=NOON + timedelta(seconds=3)))

    ended = trace(REQUEST_ID)

    assert ended.stdout.startswith(
        f"Dead letter {row} (👍 true): it was not delivered. rejected 404: Request ID not found.\n"
    )
    assert ended.stdout.split("\n\n")[1].splitlines()[2:] == [
        "2026-03-01 12:00:02 UTC  sent by w@host: 503 Downstream service unavailable after 41 ms; to be retried",
        "2026-03-01 12:00:03 UTC  dead letter: rejected 404: Request ID not found",
    ]
    assert told()["dead_letters"][0]["history"] == [ATTEMPT.to_record()]


def test_a_press_in_the_spool_or_the_outbox_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it has not reached Redis."""
    with closing(Spool(tmp_path / "spool")) as spool:
        spool.put([EVENT, an_event()], "feedback")
    monkeypatch.setenv("FEEDBACK_SPOOL_DIR", str(tmp_path / "spool"))
    outbox = f"sqlite:///{tmp_path / 'backend.db'}"
    engine = connect(outbox)
    create_table(engine)
    with engine.begin() as connection:
        connection.execute(insert(EVENT))
        connection.execute(insert(an_event()))
    engine.dispose()
    monkeypatch.setenv("FEEDBACK_OUTBOX_URL", outbox)

    found = told()

    assert [one["request_id"] for one in found["spooled"]] == [REQUEST_ID]
    assert [one["status"] for one in found["outbox"]] == ["true"]
    assert [text.split(" since ")[0] for text in found["summary"]] == [
        "It is in the spool of this machine",
        "It is in the outbox",
    ]


def foreign(**changes: Any) -> bytes:
    """A message of the event by another Celery client."""
    plain = json.loads(message())
    del plain["headers"]["feedback"]
    body = plain["body"].encode()
    if changes.get("compression"):
        body = zlib.compress(body)
        plain["headers"]["compression"] = changes["compression"]
    plain["body"] = b64encode(b" " * changes.get("shift", 0) + body).decode()
    plain["properties"]["body_encoding"] = "base64"
    return json.dumps(plain).encode()


@pytest.mark.parametrize(
    "entry",
    [
        *(foreign(shift=shift) for shift in range(3)),
        foreign(compression="zlib"),
        message().replace(REQUEST_ID.encode(), REQUEST_ID.upper().encode()),
    ],
    ids=["base64", "base64, by 1", "base64, by 2", "compressed", "in upper case"],
)
def test_a_press_of_another_client_is_found(places: Places, entry: bytes) -> None:
    """However its client spells it."""
    places.client.lpush("feedback", entry)

    (found,) = search_messages(places.partitions, REQUEST_ID).found
    (begun,) = search_messages(places.partitions, REQUEST_ID[:8]).found

    assert (found.where, found.request_id, begun.request_id) == (Whereabouts.QUEUED, REQUEST_ID, REQUEST_ID)


def test_a_long_queue_is_looked_through_in_steps(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is looked at; where that would be too many it says so, having looked at the newest."""
    monkeypatch.setattr(message_search, "_AT_ONCE", 10)
    places.client.lpush("feedback", message())
    messages = places.enqueue(45)

    whole = search_messages(places.partitions, REQUEST_ID)
    part = search_messages(places.partitions, REQUEST_ID, most=20)
    newest = search_messages(places.partitions, request_id_of(messages[-1]), most=20)

    assert ([one.ahead for one in whole.found], whole.is_whole) == ([5], True)
    assert (part.found, part.is_whole, part.looked_at < part.total) == ((), False, True)
    assert [one.ahead for one in newest.found] == [50]


def test_what_is_no_message_is_no_reason_to_fail(places: Places) -> None:
    """A request_id may stand in anything."""
    places.client.lpush(
        "feedback", REQUEST_ID.encode(), b"[]", b'{"headers": {"x": "%s"}}' % REQUEST_ID.encode(), b"\xff"
    )
    places.client.hset("unacked", "odd", REQUEST_ID)

    assert search_messages(places.partitions, REQUEST_ID).found == ()


def test_a_beginning_leads_to_the_only_one_or_to_a_choice(places: Places, table: DeadLetterStore) -> None:
    """As lists show it, also with the … behind it."""
    another = REQUEST_ID[:-1] + "7"
    places.client.lpush("feedback", message())

    only = trace("77e81bbc…")
    add(table, a_record(an_event(request_id=another)))
    several = trace("77E81BBC-3e7f")

    assert only.stdout.startswith("👍 true is queued")
    assert (several.exit_code, several.stdout.split()) == (1, [REQUEST_ID, another])
    assert several.stderr == "Error: 2 request_ids begin with 77e81bbc-3e7f: give one of these\n"
    assert trace("00000000").exit_code == 1


@pytest.mark.parametrize(
    "text", ["77e8", "77e81bb%", "77e81bbcc", REQUEST_ID + "0", "77e81bbc3e7f47b987fa681b5d2f54e6"]
)
def test_what_is_no_request_id_is_refused(text: str) -> None:
    """With what is expected."""
    ended = trace(text)

    assert ended.exit_code == 2
    assert "expected a request_id such as 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6, or its first 8" in ended.stderr


def test_what_can_not_be_asked_is_said_and_the_rest_is_told(
    table: DeadLetterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead letter is found while Redis is unavailable."""
    row = add(table, a_record(EVENT))
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "redis://:s3cret@127.0.0.1:1/0")

    ended = trace(REQUEST_ID)

    assert ended.exit_code == 1
    assert ended.stdout.startswith(f"Dead letter {row} ")
    assert "FEEDBACK_BROKER_URL is redis://" in ended.stderr
    assert "s3cret" not in ended.output


def test_a_press_is_found_in_whichever_partition_it_lies(valkey: RedisServer) -> None:
    """Another client may have laid it into another than its own; what is remembered is in its own."""
    with opened(valkey.url, 4) as partitions:
        name = request_id_of_partition(partitions, 2)
        enqueue_in(partitions[3], message_of(name))
        enqueue_in(partitions[2], message_of(name))

        found = search_messages(partitions, name).found

        assert [(one.partition, one.where) for one in found] == [(2, Whereabouts.QUEUED), (3, Whereabouts.QUEUED)]
