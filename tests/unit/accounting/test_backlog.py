"""What autoscalers go by: work that more workers would end sooner, and whether a worker is needed at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from producer import FeedbackEvent
from producer.message import to_message
from worker.accounting.backlog import Backlog, take_backlog
from worker.accounting.snapshot import Snapshot
from worker.clients.redis.partitions import Partitions
from worker.delivery.hold import HoldKind, HoldState
from worker.policy.envelope import Envelope, WaitReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="attempts", group="g")
HOLD = HoldState(kind=HoldKind.BREAKER, comment="503", since=NOON, actor="ada", probes=0, probe_at=None)


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    """A Redis with nothing in it."""
    with fakeredis.FakeRedis() as client:
        yield client


def moment(hold: HoldState | None = None) -> Snapshot:
    """A moment with 30 queued, 20 in flight and 10 scheduled."""
    return Snapshot(at=NOON, counts={}, queued=30, in_flight=20, scheduled=10, oldest=None, hold=hold, holders=())


def enqueued(seconds: float) -> datetime:
    """So long ago."""
    return datetime.now(UTC) - timedelta(seconds=seconds)


def tried(at: datetime, **more: Any) -> bytes:
    """A message that a worker has published again."""
    envelope = Envelope(enqueued_at=at, message_id="m", **more).spent().waiting(WaitReason.RETRY)
    return json.dumps({"body": "", "headers": {"feedback": envelope.to_header()}, "properties": {}}).encode()


def test_what_waits_for_its_time_needs_a_worker_and_no_second_one() -> None:
    """A retry in an hour is not sooner with ten workers."""
    backlog = Backlog.of(moment(), NOON - timedelta(seconds=45))

    assert backlog == Backlog(messages=50, age=timedelta(seconds=45), unfinished=60)


def test_in_a_hold_there_is_no_backlog_and_a_worker_for_the_probes() -> None:
    """While AquilaX is down the queue grows, and more workers would not help."""
    backlog = Backlog.of(moment(HOLD), NOON - timedelta(hours=3))

    assert backlog == Backlog(messages=0, age=timedelta(), unfinished=60)


def test_a_backend_whose_clock_is_fast_makes_no_age_below_zero() -> None:
    """0 is the least."""
    assert Backlog.of(moment(), NOON + timedelta(minutes=5)).age == timedelta()


def test_an_empty_queue_is_no_work(client: redis.Redis) -> None:
    """Then the last worker may go."""
    assert take_backlog(Partitions([client])) == Backlog(messages=0, age=timedelta(), unfinished=0)


@pytest.mark.parametrize("list_name", ["feedback", "feedback\x06\x163"])
def test_the_age_is_that_of_the_oldest_event_that_was_not_tried_yet(client: redis.Redis, list_name: str) -> None:
    """In whatever list; one among many is found at the end from which messages are taken."""
    for seconds in (40, 20, *[1] * 300):
        client.lpush(list_name, to_message(EVENT, enqueued_at=enqueued(seconds)))

    backlog = take_backlog(Partitions([client]))

    assert backlog.messages == backlog.unfinished == 302
    assert timedelta(seconds=39) < backlog.age < timedelta(seconds=60)


def test_what_was_tried_before_or_is_replayed_has_no_age(client: redis.Redis) -> None:
    """It is as old as its failures: for days it would ask for as many workers as there may be."""
    client.lpush("feedback", tried(enqueued(86_400)), tried(enqueued(80_000), dead_letter=7))
    client.lpush("feedback", to_message(EVENT, enqueued_at=enqueued(70_000), envelope={"dead_letter": 7}))
    client.lpush("feedback", to_message(EVENT, enqueued_at=enqueued(5)))

    backlog = take_backlog(Partitions([client]))

    assert backlog.messages == 4
    assert backlog.age < timedelta(seconds=30)


def test_what_foreign_clients_write_is_counted_and_has_no_age(client: redis.Redis) -> None:
    """It does not say since when it waits, or nonsense."""
    client.lpush("feedback", b"\xff", b'{"headers": {"feedback": {"v": 2, "enqueued_at": "9999999999+00:00"}}}')

    assert take_backlog(Partitions([client])) == Backlog(messages=2, age=timedelta(), unfinished=2)
