"""A queue in several partitions, on one Redis: where messages go, who gets them, and how much is in flight."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from celery.app.task import Context
from kombu import Connection, Consumer, Exchange, Producer, Queue

from producer.message import QUEUE, TASK
from producer.partitions import partition_of, tags
from tests.integration.broker.consumers import TRANSPORT, Drainer, Looper, Worker, connect
from tests.integration.broker.partitioning import (
    FEW,
    MANY,
    counted,
    end,
    in_flight,
    lies_in,
    options,
    request_id,
)
from tests.support.dead_letter_records import an_event
from tests.support.partitions import enqueue, enqueue_in, message_of, request_id_of_partition, request_ids
from worker.broker.lease_state import SharedLeaseState
from worker.broker.payload import HELD_IN
from worker.broker.redelivery import Redelivery
from worker.clients.redis.keys import CountField
from worker.delivery.idempotency import Claimed, Seen
from worker.delivery.partitioned_idempotency import connect_idempotency

if TYPE_CHECKING:
    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions


# Where messages go


def test_what_celery_publishes_goes_to_its_events_partition(valkey: RedisServer, partitions: Partitions) -> None:
    """As it would from our producer; what is no event goes to the first one, and so does another queue's message."""
    names = request_ids(40)
    with Connection(valkey.url, transport=TRANSPORT, transport_options=options(valkey, FEW)) as connection:
        producer = connection.Producer()
        for name in names:
            producer.publish(
                [[], {"request_id": name}, {}], routing_key=QUEUE, serializer="json", headers={"task": TASK}
            )
        assert lies_in(partitions) == [
            sum(partition_of(name, FEW) == number for name in names) for number in range(FEW)
        ]

        before = lies_in(partitions)
        producer.publish([[], {"text": "no event"}, {}], routing_key=QUEUE)
        producer.publish("no task", routing_key=QUEUE, priority=9)
        assert lies_in(partitions) == [before[0] + 2, *before[1:]]

        producer.publish([[], {"request_id": names[0]}, {}], routing_key="another")
        assert [client.exists(f"{prefix}another") for client, prefix in zip(partitions, tags(FEW), strict=True)] == [
            1,
            0,
            0,
            0,
        ]


def test_what_is_no_event_goes_to_the_first_partition_however_many_there_are(
    valkey: RedisServer, partitions: Partitions
) -> None:
    """And not to the one that the digest of '' would choose."""
    for number in (3, 5, 7):
        with Connection(valkey.url, transport=TRANSPORT, transport_options=options(valkey, number)) as connection:
            connection.Producer().publish(f"one of {number}", routing_key=QUEUE)

    assert partition_of("", 3) != 0
    assert [partitions.home.llen(f"{tags(number)[0]}{QUEUE}") for number in (3, 5, 7)] == [
        sum(tags(other)[0] == tags(number)[0] for other in (3, 5, 7)) for number in (3, 5, 7)
    ]


@pytest.mark.parametrize("eta", [None, "2999-01-01T00:00:00Z"])
def test_a_message_that_goes_on_for_one_in_flight_stays_in_its_partition(
    valkey: RedisServer, partitions: Partitions, monkeypatch: pytest.MonkeyPatch, eta: str | None
) -> None:
    """Celery's own retry, also of what was laid elsewhere: one step ends the one, and lays the other."""
    name = request_id_of_partition(partitions, 1)
    enqueue_in(partitions[3], message_of(name))
    with Looper(valkey, QUEUE, prefetch=1, **options(valkey, FEW)) as worker:
        [message] = worker.receive(at_least=1)
        assert in_flight(partitions) == [0, 0, 0, 1]
        request = _Request(message)
        monkeypatch.setattr("worker.broker.redelivery.current_task", request)

        headers = {"task": TASK, "id": request.request.id, "retries": 1, "eta": eta}
        producer = worker.connection.Producer()
        producer.publish([[], {"request_id": name}, {}], routing_key=QUEUE, headers=headers)

        assert in_flight(partitions) == [0, 0, 0, 0]
        assert lies_in(partitions) == [0, 0, 0, 1]


class _Request:
    """What Celery says of the task that runs."""

    acks_late, name = True, TASK

    def __init__(self, message: Any) -> None:
        self.request = self
        self.id, self.retries, self.properties = "the same", 0, message.properties
        self.called_directly = self.is_eager = False


def test_declaring_and_purging_reach_all_partitions(valkey: RedisServer, partitions: Partitions) -> None:
    """The size is the sum; what is purged is counted where it lay."""
    enqueue(partitions, *request_ids(20))
    before = lies_in(partitions)
    with Worker(valkey, QUEUE, **options(valkey, FEW)) as worker:
        assert worker.channel.queue_declare(QUEUE).message_count == 20
        assert worker.channel.queue_declare(QUEUE, passive=True).message_count == 20
        assert worker.channel.queue_purge(QUEUE) == 20

    assert lies_in(partitions) == [0] * FEW
    assert counted(partitions, CountField.PURGED) == before


# Who gets them, and how much is in flight


@pytest.mark.parametrize("kind", [Worker, Drainer, Looper])
def test_everything_is_received_once_from_wherever_it_lies(
    valkey: RedisServer, partitions: Partitions, kind: type[Worker]
) -> None:
    """By every way in which programs receive; what ends is counted where it lay."""
    names = request_ids(40)
    enqueue(partitions, *names)
    expected = [partition_of(name, FEW) for name in names]
    with kind(valkey, QUEUE, **options(valkey, FEW)) as worker:
        received = worker.receive(at_least=40)
        assert Counter(map(request_id, received)) == Counter(names)
        assert in_flight(partitions) == [expected.count(number) for number in range(FEW)]
        for message in received:
            end(worker, message)
        worker.settle()

    assert (in_flight(partitions), lies_in(partitions)) == ([0] * FEW, [0] * FEW)
    assert counted(partitions, CountField.DELIVERED) == [expected.count(number) for number in range(FEW)]


@pytest.mark.parametrize("kind", [Drainer, Looper])
@pytest.mark.parametrize("prefetch", [1, 3, 10])
def test_all_partitions_share_one_prefetch_credit(
    valkey: RedisServer, many: Partitions, kind: type[Worker], prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With messages in all of them: never more in flight than the prefetch count, and all of it is used."""
    monkeypatch.setattr("worker.broker.partitioned._RESERVED", 60)  # however slow this machine is
    enqueue(many, *request_ids(200))
    with kind(valkey, QUEUE, prefetch=prefetch, **options(valkey, MANY)) as worker:
        for _ in range(30):
            worker.receive(at_least=prefetch - len(worker.received))
            assert sum(in_flight(many)) == len(worker.received) == prefetch
            end(worker, worker.received.pop(0))
            worker.settle()


def test_who_takes_one_message_at_a_time_gets_no_other(
    valkey: RedisServer, many: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's `worker_disable_prefetch`, which replaces `can_consume`: what is handed out is what may be begun."""
    monkeypatch.setattr("worker.broker.partitioned._RESERVED", 60)
    enqueue(many, *request_ids(100))
    with Looper(valkey, QUEUE, prefetch=10, **options(valkey, MANY)) as worker:
        worker.connection.channel()  # another one, whose credit has no limit, as Celery's remote control has
        worker.channel.qos.can_consume = lambda: len(worker.received) < 1
        for _ in range(20):
            worker.run_until(lambda: worker.received)
            for _ in range(5):
                worker.turn(0.001)
            assert sum(in_flight(many)) == len(worker.received) == 1
            end(worker, worker.received.pop(0))
            worker.settle()


def test_a_consumer_of_broadcasts_hears_what_is_said_from_then_on(
    valkey: RedisServer, partitions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its connection takes: a worker that is ready answers remote control."""
    connects: Any = redis.connection.AbstractConnection.connect

    def connect_slowly(connection: Any) -> None:
        if threading.current_thread().name == "link remote control":
            time.sleep(0.3)
        connects(connection)

    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", connect_slowly)
    news, weather = Exchange("news", type="fanout"), Exchange("weather", type="fanout")
    several = options(valkey, FEW)
    with Looper(valkey, QUEUE, **several) as worker, closing(connect(valkey, **several)) as publisher:
        heard: list[Any] = []
        queues = [Queue("mine", news), Queue("another", weather)]
        Consumer(worker.connection.channel(), queues, on_message=heard.append, no_ack=True).consume()
        assert partitions.home.pubsub_numpat() == 2

        Producer(publisher, news).publish("now")
        Producer(publisher, weather).publish("rain")
        worker.run_until(lambda: len(heard) == 2)

    assert sorted(message.payload for message in heard) == ["now", "rain"]


def test_slow_servers_hand_out_no_more_than_is_documented(
    valkey: RedisServer, many: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answers later than it is waited for, and meanwhile others are asked: at most twice as much, and one each."""
    monkeypatch.setattr("worker.broker.partitioned._RESERVED", 0.0)
    prefetch, most, received = 10, 0, 0
    enqueue(many, *request_ids(500))
    with Looper(valkey, QUEUE, prefetch=prefetch, **options(valkey, MANY)) as worker:
        while received < 500:
            worker.run_until(lambda: worker.received)
            most = max(most, sum(in_flight(many)))
            received += len(worker.received)
            while worker.received:
                end(worker, worker.received.pop())
            worker.settle()

    assert prefetch < most <= 2 * prefetch + MANY


def test_no_partition_is_starved_by_one_with_a_long_backlog(valkey: RedisServer, many: Partitions) -> None:
    """One has 10,000 messages, the others one each: those come within two rounds of fetches."""
    busy = request_id_of_partition(many, 7)
    enqueue_in(many[7], *[message_of(busy)] * 10_000)
    alone = [request_id_of_partition(many, number) for number in range(MANY) if number != 7]
    enqueue(many, *alone)
    received: list[str] = []
    with Looper(valkey, QUEUE, prefetch=4, **options(valkey, MANY)) as worker:
        while len(received) < 10 * MANY and not set(alone) <= set(received):
            worker.run_until(lambda: worker.received)
            while worker.received:
                message = worker.received.pop(0)
                received.append(request_id(message))
                end(worker, message)
            worker.settle()

    assert set(alone) <= set(received), Counter(received)


def test_full_partitions_are_served_in_turn(valkey: RedisServer, many: Partitions) -> None:
    """With room for one message at a time no partition comes twice before each has come once."""
    for number, client in enumerate(many):
        enqueue_in(client, *[message_of(request_id_of_partition(many, number))] * 5)
    came: list[int] = []
    with Drainer(valkey, QUEUE, prefetch=1, **options(valkey, MANY)) as worker:
        for _ in range(3 * MANY):
            [message] = worker.receive(at_least=1)
            came.append(many.number_of(request_id(message)))
            worker.received.clear()
            end(worker, message)

    rounds = [came[at : at + MANY] for at in range(0, len(came), MANY)]
    assert [sorted(each) for each in rounds] == [list(range(MANY))] * 3


def test_a_message_that_was_laid_elsewhere_is_delivered_once_and_counted_where_it_lies(
    valkey: RedisServer, partitions: Partitions
) -> None:
    """Its event's votes are in its own partition: there it is claimed, and a copy in the right one is a duplicate."""
    event = replace(an_event(), request_id=request_id_of_partition(partitions, 1))
    for number in (3, 1):
        enqueue_in(partitions[number], message_of(event.request_id))
    url, ttl = valkey.url, timedelta(hours=1)
    with (
        closing(connect_idempotency(url, partitions=FEW, ttl=ttl, lease=ttl, connections=2)) as idempotency,
        Looper(valkey, QUEUE, **options(valkey, FEW)) as worker,
    ):
        received = {message.properties[HELD_IN][:13]: message for message in worker.receive(at_least=2)}
        astray, at_home = (received[tags(FEW)[number][:13]] for number in (3, 1))
        claimed = idempotency.claim(event, message_id=astray.delivery_tag)
        assert isinstance(claimed, Claimed)
        held_in = astray.properties[HELD_IN]
        told = {"message_id": astray.delivery_tag, "delivery_tag": astray.delivery_tag, "held_in": held_in}
        idempotency.record(event, claimed, **told)
        assert in_flight(partitions) == [0, 1, 0, 0]

        assert idempotency.claim(event, message_id=at_home.delivery_tag) is Seen.DUPLICATE
        held_in = at_home.properties[HELD_IN]
        assert idempotency.finish(at_home.delivery_tag, CountField.DUPLICATE, held_in=held_in)
        for message in received.values():
            message.ack()
        worker.settle()

    assert (in_flight(partitions), lies_in(partitions)) == ([0] * FEW, [0] * FEW)
    assert counted(partitions, CountField.DELIVERED) == [0, 0, 0, 1]
    assert counted(partitions, CountField.DUPLICATE) == [0, 1, 0, 0]


def test_our_own_redelivery_stays_in_its_partition(valkey: RedisServer, partitions: Partitions) -> None:
    """Also of what was laid elsewhere, for now and for later."""
    name = request_id_of_partition(partitions, 1)
    enqueue_in(partitions[3], message_of(name), message_of(name))
    url, ttl, shared = valkey.url, timedelta(hours=1), SharedLeaseState()
    with (
        closing(connect_idempotency(url, partitions=FEW, ttl=ttl, lease=ttl, connections=2)) as idempotency,
        Looper(valkey, QUEUE, **options(valkey, FEW, shared_leases=shared)) as worker,
    ):
        redelivery = Redelivery(idempotency.scripts_at, shared)
        later = datetime.now(UTC) + timedelta(hours=1)
        for message, due in zip(worker.receive(at_least=2), (None, later), strict=True):
            worker.consumer.cancel()
            told = {"task": TASK, "id": "1", "properties": message.properties, "args": [], "retries": 0}
            request = Context(told | {"kwargs": message.payload[1]})
            redelivery.publish(request, {}, due=due)
            assert shared.take_settled(message.delivery_tag)

        assert (in_flight(partitions), lies_in(partitions)) == ([0] * FEW, [0, 0, 0, 2])
