"""Partitions on one Redis: each event lies in its own, over the same connections; their number never changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, FeedbackProducer
from producer.message import counts_of, to_messages
from producer.partitions import RECORD, partition_of, tags
from producer.spool import SpoolSender
from tests.support.cluster_load import an_event_of
from tests.support.producers import EVENT, attempt, produce

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


def found_in(client: redis.Redis, count: int) -> dict[int, list[str]]:
    """The request_ids in each partition's list, the oldest first."""
    found = {}
    for number, tag in enumerate(tags(count)):
        messages: Any = client.lrange(f"{tag}feedback", 0, -1)
        found[number] = [json.loads(json.loads(each)["body"])[1]["request_id"] for each in reversed(messages)]
        assert int(client.hget(f"{tag}{counts_of('feedback')}", "accepted") or 0) == len(messages)
    return found


@both
def test_each_event_lies_in_its_partition(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """In the order in which they came; one connection carries them all, and a chunk is one round trip."""
    events = [an_event_of() for _ in range(700)]
    with produce(kind, broker.url, timeout=20, partitions=5) as producer:
        producer.enqueue(events[0])
        before: Any = broker_client.info("stats")
        assert producer.enqueue_many(events[1:]) == 699
        after: Any = broker_client.info("stats")
        producer.ping()

    expected = {
        number: [event.request_id for event in events if partition_of(event.request_id, 5) == number]
        for number in range(5)
    }
    assert found_in(broker_client, 5) == expected
    assert broker_client.get(RECORD) == "5"
    assert after["total_connections_received"] == before["total_connections_received"]


@both
def test_ready_made_messages_say_where_they_belong(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """By their events, or by request_ids that are given; else they are read."""
    events = [an_event_of() for _ in range(30)]
    names = [event.request_id for event in events]
    with produce(kind, broker.url, timeout=20, partitions=4) as producer:
        producer.enqueue_messages(to_messages(events[:10]), events=events[:10])
        producer.enqueue_messages(to_messages(events[10:20]), request_ids=names[10:20])
        producer.enqueue_messages(to_messages(events[20:]))
        with pytest.raises(ValueError, match="request_ids are 1: expected one for each of 2 messages"):
            producer.enqueue_messages(to_messages(events[:2]), request_ids=names[:1])

    for number, found in found_in(broker_client, 4).items():
        assert found == [name for name in names if partition_of(name, 4) == number]


@both
def test_another_number_is_refused(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """Whichever is told: nothing is sent, and a spool keeps the event."""
    with produce(kind, broker.url, timeout=20, partitions=4) as producer:
        producer.enqueue(EVENT)
    before = broker_client.dbsize()
    for partitions in (None, 1, 5):
        with produce(kind, broker.url, timeout=20, partitions=partitions) as producer:
            error = attempt(producer).error
            assert type(error) is BrokerUnavailable
            assert "made with 4 partitions" in str(error)
            assert "FEEDBACK_PARTITIONS=4" in str(error)

    assert broker_client.dbsize() == before
    assert found_in(broker_client, 4)[partition_of(EVENT.request_id, 4)] == [EVENT.request_id]


@both
def test_a_queue_without_partitions_is_not_divided(kind: str, broker: RedisServer, broker_client: redis.Redis) -> None:
    """It has no record, and shows by its counts."""
    with produce(kind, broker.url, timeout=20) as producer:
        producer.enqueue(EVENT)
    with produce(kind, broker.url, timeout=20, partitions=2) as producer:
        error = attempt(producer).error

    assert type(error) is BrokerUnavailable
    assert "made with 1 partitions" in str(error)
    assert not broker_client.exists(RECORD)


def test_a_spool_keeps_what_may_not_be_sent_and_sends_it_where_it_belongs(
    broker: RedisServer, broker_client: redis.Redis, tmp_path: Path
) -> None:
    """Until the setting is right."""
    with FeedbackProducer(broker.url, timeout=20, partitions=3) as producer:
        producer.enqueue(EVENT)
    with FeedbackProducer(broker.url, timeout=20, spool=tmp_path) as producer:
        later = producer.enqueue(an_event_of())
        assert producer.spool is not None
        assert producer.spool.spooled == 1

    sender = SpoolSender(tmp_path, lambda queue: FeedbackProducer(broker.url, timeout=20, queue=queue, partitions=3))
    assert list(sender.send()) == [1]
    sender.close()
    assert later.request_id in found_in(broker_client, 3)[partition_of(later.request_id, 3)]
