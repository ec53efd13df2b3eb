"""Consumers of a queue in several partitions that come and go, and servers of it that are away."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis
from kombu import Consumer, Exchange, Queue

from producer.message import QUEUE
from producer.partitions import tags
from tests.integration.broker.consumers import Drainer, Looper, Worker
from tests.integration.broker.messages import as_text, content
from tests.integration.broker.partitioning import (
    FEW,
    counted,
    end,
    in_flight,
    lies_in,
    options,
    request_id,
    waiting,
)
from tests.support.partitions import enqueue, enqueue_in, message_of, request_id_of_partition, request_ids
from tests.support.processes import eventually
from worker.broker.channel import Channel
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.partition_channel import PartitionChannel
from worker.clients.redis.keys import CountField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer
    from worker.clients.redis.partitions import Partitions


# Coming and going


@pytest.mark.parametrize("kind", [Drainer, Looper])
@pytest.mark.parametrize("how", ["connection", "channel"])
def test_closing_returns_everything_to_the_head_of_its_partition(
    valkey: RedisServer, partitions: Partitions, kind: type[Worker], how: str
) -> None:
    """What came first is the next to go again, in each partition; also what was on its way when it closed."""
    for number in range(FEW):
        name = request_id_of_partition(partitions, number)
        for _ in range(5):
            enqueue_in(partitions[number], message_of(name))
    before = waiting(partitions)
    worker = kind(valkey, QUEUE, prefetch=8, **options(valkey, FEW))
    worker.receive(at_least=8)
    end(worker, worker.received.pop(0))
    worker.settle()
    if isinstance(worker, Looper):
        worker.turn(0.001)  # which asks for one more

    worker.channel.close() if how == "channel" else worker.connection.release()

    assert in_flight(partitions) == [0] * FEW
    assert sum(lies_in(partitions)) == FEW * 5 - 1
    for entries, entries_before in zip(waiting(partitions), before, strict=True):
        assert [_tag(entry) for entry in entries] == [_tag(entry) for entry in entries_before][: len(entries)]
    worker.close()


def _tag(entry: bytes) -> str:
    """What tells one message from another, whatever marks it has."""
    return str(json.loads(entry)["properties"]["delivery_tag"])


def test_a_queue_can_be_cancelled_and_consumed_again(valkey: RedisServer, partitions: Partitions) -> None:
    """`control cancel_consumer` and `add_consumer`: nothing is fetched from any partition meanwhile."""
    with Looper(valkey, QUEUE, "other", **options(valkey, FEW)) as worker:
        enqueue(partitions, *request_ids(10))
        worker.receive(at_least=10)
        worker.consumer.cancel_by_queue(QUEUE)
        enqueue(partitions, *request_ids(20)[10:])
        worker.connection.Producer().publish("other", routing_key="other")
        worker.run_until(lambda: len(worker.received) == 11)
        for _ in range(5):
            worker.turn(0.01)
        assert worker.received[-1].payload == "other"
        assert sum(lies_in(partitions)) == 10
        assert [channel for channel in worker.fetching if channel is not worker.channel] == []

        worker.consumer.add_queue(Queue(QUEUE))
        worker.consumer.consume()
        worker.run_until(lambda: len(worker.received) == 21)
        assert sum(lies_in(partitions)) == 0


def test_a_worker_that_starts_again_finds_what_another_left(valkey: RedisServer, partitions: Partitions) -> None:
    """One that was killed: in every partition its lease ends, and its messages come again, with their identities."""
    enqueue(partitions, *request_ids(12))
    killed = Looper(valkey, QUEUE, **options(valkey, FEW, lease=0.5))
    tags_before = {message.delivery_tag for message in killed.receive(at_least=12)}
    assert all(in_flight(partitions))
    killed.crash()

    with Looper(valkey, QUEUE, **options(valkey, FEW, lease=0.5)) as worker:
        worker.run_until(lambda: len(worker.received) == 12, timeout=30)
        assert {message.delivery_tag for message in worker.received} == tags_before


def test_a_process_that_forks_goes_on_in_both(valkey: RedisServer, partitions: Partitions) -> None:
    """The parent keeps what it has in flight; the child publishes by connections of its own."""
    enqueue(partitions, *request_ids(8))
    with Looper(valkey, QUEUE, **options(valkey, FEW)) as worker:
        worker.receive(at_least=8)
        name = request_ids(9)[-1]
        child = os.fork()
        if not child:
            os._exit(_publish_in_child(worker, name))
        assert os.waitpid(child, 0)[1] == 0

        assert sum(in_flight(partitions)) == 8
        worker.run_until(lambda: len(worker.received) == 9)
        assert request_id(worker.received[-1]) == name
        for message in worker.received:
            end(worker, message)
        worker.settle()
    assert (in_flight(partitions), lies_in(partitions)) == ([0] * FEW, [0] * FEW)


def _publish_in_child(worker: Worker, name: str) -> int:
    """Publish over the parent's channel, as a process of a pool does; return its exit status."""
    try:
        worker.connection.Producer().publish([[], {"request_id": name}, {}], routing_key=QUEUE)
    except BaseException:  # noqa: BLE001 - the child must not go on as the test
        return 1
    return 0


def test_what_plain_workers_left_in_any_partition_comes_back(valkey: RedisServer, partitions: Partitions) -> None:
    """Found in a thread, whichever of the connection's channels consumes."""
    for number, client in enumerate(partitions):
        entry = message_of(request_id_of_partition(partitions, number))
        client.hset(f"{tags(FEW)[number]}unacked", "left", b'[%s, "", "feedback"]' % entry)
        client.zadd(f"{tags(FEW)[number]}unacked_index", {"left": 1})
    with Drainer(valkey, QUEUE, **options(valkey, FEW)) as worker:
        for _ in range(5):
            worker.connection.channel()
        deadline = time.monotonic() + 20
        while len(worker.received) < FEW and time.monotonic() < deadline:
            worker.take()
        assert {request_id(message) for message in worker.received} == {
            request_id_of_partition(partitions, number) for number in range(FEW)
        }


# A partition whose server is away


@pytest.fixture
def frozen() -> Iterator[socket.socket]:
    """A server that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_server_that_does_not_answer_is_never_waited_for_where_messages_are_delivered(
    valkey: RedisServer, partitions: Partitions, frozen: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partition is connected to in threads; the messages of the others are received meanwhile."""
    asked_by: set[int] = set()
    params = PartitionChannel._connparams
    connect: Any = redis.connection.AbstractConnection.connect

    def away(channel: PartitionChannel, asynchronous: bool = False) -> dict[str, Any]:
        found = params(channel, asynchronous)
        return found | {"port": frozen.getsockname()[1]} if channel.number == 2 else found

    def note(connection: Any) -> None:
        if connection.port == frozen.getsockname()[1]:
            asked_by.add(threading.get_ident())
        connect(connection)

    monkeypatch.setattr(PartitionChannel, "_connparams", away)
    monkeypatch.setattr(redis.connection.AbstractConnection, "connect", note)
    names = [name for name in request_ids(60) if partitions.number_of(name) != 2]
    with Looper(valkey, QUEUE, prefetch=5, **options(valkey, FEW)) as worker:
        for name in names:
            enqueue(partitions, name)
            worker.run_until(lambda: worker.received)
            assert request_id(worker.received[0]) == name
            end(worker, worker.received.pop())
        eventually(lambda: asked_by, what="a thread tries to connect")
        assert worker.channel.queue_declare(QUEUE).message_count == 0

    assert threading.get_ident() not in asked_by


def test_a_consumer_of_broadcasts_starts_while_their_server_does_not_answer(
    valkey: RedisServer, partitions: Partitions, frozen: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears none yet, and takes what the partitions have."""
    params = Channel._connparams

    def away(channel: Channel, asynchronous: bool = False) -> dict[str, Any]:
        return params(channel, asynchronous) | {"port": frozen.getsockname()[1]}

    names = request_ids(20)
    enqueue(partitions, *names)
    with Looper(valkey, QUEUE, **options(valkey, FEW)) as worker:
        listens = worker.connection.channel()
        queue = Queue("mine", Exchange("news", type="fanout"))
        queue(listens).declare()
        monkeypatch.setattr(Channel, "_connparams", away)
        Consumer(listens, [queue], no_ack=True, auto_declare=False).consume()
        worker.run_until(lambda: len(worker.received) == len(names))
        assert partitions.home.pubsub_numpat() == 0


def test_a_connection_that_was_idle_is_not_checked_where_messages_are_delivered(
    valkey: RedisServer, partitions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py would send a PING and wait for the reply: the server may have been frozen since."""
    checked: list[Any] = []

    def note(connection: Any) -> None:
        checked.append(connection)

    with Looper(valkey, QUEUE, "own", **options(valkey, FEW, health_check_interval=10)) as worker:
        worker.take()
        waiting_on = [channel.client.connection for channel in worker.fetching]
        assert len(waiting_on) == FEW + 1
        monkeypatch.setattr(redis.connection.AbstractConnection, "_send_ping", note)
        for connection in waiting_on:
            connection.next_health_check = 0  # as after a long pause
        enqueue(partitions, *request_ids(20))
        partitions.home.lpush(f"{tags(FEW)[0]}own", as_text(content("1", queue="own")))
        worker.run_until(lambda: len(worker.received) == 21)

        assert not [connection for connection in waiting_on if connection in checked]


def test_what_one_partition_refuses_is_no_matter_of_the_others(
    valkey: RedisServer, partitions: Partitions, caplog: pytest.LogCaptureFixture
) -> None:
    """A key of the wrong type: the log says which partition, once, and it goes on when that is mended."""
    key = broker_keys(partitions[1]).lists(QUEUE)[0] + DELAYED  # the first that is read, whatever the credit
    partitions[1].set(key, "text")
    names = request_ids(40)
    enqueue(partitions, *names)
    others = [name for name in names if partitions.number_of(name) != 1]
    with caplog.at_level("INFO", "worker.broker.link"), Looper(valkey, QUEUE, **options(valkey, FEW)) as worker:
        worker.run_until(lambda: len(worker.received) == len(others))
        for _ in range(20):
            worker.turn(0.01)
        assert {request_id(message) for message in worker.received} == set(others)
        partitions[1].delete(key)
        worker.run_until(lambda: len(worker.received) == len(names))

    assert ["partition 01" in record.message for record in caplog.records] == [True, True]
    assert "WRONGTYPE" in caplog.records[0].message
    assert "is there again" in caplog.records[1].message


def test_a_partition_that_is_lost_and_comes_back_loses_nothing(valkey: RedisServer, partitions: Partitions) -> None:
    """Its connection is cut again and again, with and without a fetch under way; each message is received once."""
    names = request_ids(60)
    received: list[str] = []
    with Looper(valkey, QUEUE, prefetch=4, **options(valkey, FEW)) as worker:
        for at in range(0, 60, 3):
            enqueue(partitions, *names[at : at + 3])
            channel = worker.channel.beneath[at // 3 % FEW]
            if channel.link.is_open:
                _cut(partitions, channel)
            worker.run_until(lambda: worker.received)
            while worker.received:
                message = worker.received.pop()
                received.append(request_id(message))
                end(worker, message)
        while len(received) < 60:
            worker.run_until(lambda: worker.received)
            message = worker.received.pop()
            received.append(request_id(message))
            end(worker, message)
        worker.settle()

    assert Counter(received) == Counter(names)
    assert counted(partitions, CountField.DELIVERED) == [
        sum(partitions.number_of(name) == number for name in names) for number in range(FEW)
    ]


def _cut(partitions: Partitions, channel: Any) -> None:
    """Let the server close a channel's connection."""
    host, port = channel.client.connection._sock.getsockname()
    partitions.home.execute_command("CLIENT", "KILL", "ADDR", f"{host}:{port}")
