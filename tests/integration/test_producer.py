"""Both producers against real servers: what returning means, and what becomes of many events."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, InvalidEvent
from producer._resp import MOST_MESSAGES
from producer.message import to_message
from tests.support.producers import EVENT, attempt, produce

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.support.processes import RedisServer

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


def _queued(client: redis.Redis, queue: str = "feedback") -> list[dict[str, Any]]:
    """The events in the list, the oldest first."""
    messages = [json.loads(message) for message in client.lrange(queue, 0, -1)]
    return [json.loads(message["body"])[1] for message in reversed(messages)]


def _numbered(number: int) -> dict[str, Any]:
    return {"request_id": f"77e81bbc-3e7f-47b9-87fa-{number:012d}", "status": True, "org": "o", "group": "g"}


def _evals(client: redis.Redis) -> int:
    calls: int = client.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"]
    return calls


@both
def test_returning_means_that_redis_has_it(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """What is returned is what was taken, with the moment filled in."""
    with produce(kind, broker.url, timeout=5) as producer:
        event = producer.enqueue(EVENT.request_id, "true", org="o", group="g")

        assert _queued(broker_client) == [event.to_wire()]


@both
def test_an_event_is_given_whole_or_by_its_fields(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """All by keyword too."""
    with produce(kind, broker.url, timeout=5) as producer:
        producer.enqueue(EVENT)
        fields: dict[str, Any] = EVENT.to_wire()
        producer.enqueue(**fields)

    assert _queued(broker_client) == [EVENT.to_wire(), EVENT.to_wire()]


@both
def test_many_events_go_in_chunks_and_keep_their_order(
    kind: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """Workers take from the other end of the list: first in, first out."""
    with produce(kind, broker.url, timeout=5) as producer:
        producer.ping()  # a new connection asks for the number of partitions first
        before = _evals(broker_client)
        taken = producer.enqueue_many(_numbered(number) for number in range(1_201))

    assert taken == 1_201
    assert [event["request_id"] for event in _queued(broker_client)] == [
        _numbered(number)["request_id"] for number in range(1_201)
    ]
    assert _evals(broker_client) - before == 3


@both
def test_what_is_taken_is_counted_in_the_same_step(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """One by one, many, and ready-made: no event is in the queue that was not counted as accepted."""
    with produce(kind, broker.url, timeout=5) as producer:
        producer.enqueue(EVENT)
        producer.enqueue_many(_numbered(number) for number in range(600))
        producer.enqueue_messages([to_message(EVENT)] * 2)

    assert broker_client.llen("feedback") == 603
    assert broker_client.hgetall("feedback:counts") == {"accepted": "603"}


@both
def test_the_most_messages_that_one_command_carries_are_taken_at_once(
    kind: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """The script can unpack them; one more is refused before anything is sent."""
    with produce(kind, broker.url, timeout=30) as producer:
        producer.enqueue_messages([b"x"] * MOST_MESSAGES)
        with pytest.raises(ValueError, match="expected at most 5000"):
            producer.enqueue_messages([b"x"] * (MOST_MESSAGES + 1))

    assert broker_client.llen("feedback") == MOST_MESSAGES
    assert broker_client.hget("feedback:counts", "accepted") == str(MOST_MESSAGES)


@both
@pytest.mark.parametrize("in_the_way", ["feedback", "feedback:counts"])
def test_what_is_not_taken_is_not_counted(
    kind: str, in_the_way: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """Redis undoes nothing of a script that fails half-way: ours leaves no half."""
    broker_client.set(in_the_way, "something else")

    with produce(kind, broker.url, timeout=5) as producer:
        outcome = attempt(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert str(outcome.error).startswith("Redis refused the event: WRONGTYPE ")
    broker_client.delete(in_the_way)
    assert broker_client.exists("feedback") == 0
    assert broker_client.hget("feedback:counts", "accepted") in {None, "0"}


@both
def test_no_events_are_no_round_trip(kind: str) -> None:
    """Nothing listens there."""
    with produce(kind, "redis://127.0.0.1:1/0") as producer:
        assert producer.enqueue_many([]) == 0
        producer.enqueue_messages([])


@both
def test_events_are_drawn_as_they_are_sent(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """A generator over millions of rows is never held in memory."""
    drawn = count()

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(1_500):
            if number == 1_000:
                assert broker_client.llen("feedback") == 1_000
            next(drawn)
            yield _numbered(number)

    with produce(kind, broker.url, timeout=5) as producer:
        producer.enqueue_many(rows())

    assert next(drawn) == 1_500


@both
def test_an_invalid_event_keeps_its_chunk_from_being_sent(
    kind: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """The error says which one, how many are taken, and which were to go with it."""
    events = [_numbered(number) for number in range(600)]
    events[502]["status"] = "maybe"

    with produce(kind, broker.url, timeout=5) as producer, pytest.raises(InvalidEvent) as refusal:
        producer.enqueue_many(events)

    assert str(refusal.value).startswith("event 502: status is 'maybe'")
    assert refusal.value.field == "status"
    assert refusal.value.taken == 500
    assert [event.request_id for event in refusal.value.not_taken] == [
        events[number]["request_id"] for number in (500, 501)
    ]
    assert broker_client.llen("feedback") == 500


@both
def test_an_error_of_the_source_comes_through_with_how_many_were_taken(
    kind: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """It is not ours to translate, and the caller knows where to go on."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from (_numbered(number) for number in range(502))
        raise OSError("the file is gone")

    with produce(kind, broker.url, timeout=5) as producer, pytest.raises(OSError, match="the file is gone") as caught:
        producer.enqueue_many(rows())

    assert caught.value.__notes__ == ["500 events were taken before"]
    assert broker_client.llen("feedback") == 500


@both
def test_a_chunk_that_is_refused_is_returned_to_its_sender(
    kind: str, broker: RedisServer, broker_client: redis.Redis
) -> None:
    """A caller that sends many knows where to go on."""

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(700):
            if number == 500:
                broker_client.delete("feedback")
                broker_client.set("feedback", "in the way")
            yield _numbered(number)

    with produce(kind, broker.url, timeout=5) as producer, pytest.raises(BrokerUnavailable) as refusal:
        producer.enqueue_many(rows())

    assert refusal.value.taken == 500
    assert [event.request_id for event in refusal.value.not_taken] == [
        _numbered(number)["request_id"] for number in range(500, 700)
    ]


@both
def test_ready_made_messages_are_sent_as_they_are(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """A replay makes its own."""
    messages = [to_message(EVENT, envelope={"dead_letter": number}) for number in range(2)]

    with produce(kind, broker.url, timeout=5) as producer:
        producer.enqueue_messages(messages)

    assert broker_client.lrange("feedback", 0, -1) == [message.decode() for message in reversed(messages)]


@both
def test_another_queue_is_another_list(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """As Celery names them."""
    with produce(kind, broker.url, timeout=5, queue="résumé") as producer:
        producer.enqueue(EVENT)

    assert _queued(broker_client, "résumé") == [EVENT.to_wire()]
    assert broker_client.hgetall("résumé:counts") == {"accepted": "1"}


@both
def test_a_closed_producer_sends_nothing(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """A request that is still running while the application stops gets an error that it knows."""
    with produce(kind, broker.url, timeout=5) as producer:
        producer.enqueue(EVENT)
        producer.close()

        outcome = attempt(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert broker_client.llen("feedback") == 1
