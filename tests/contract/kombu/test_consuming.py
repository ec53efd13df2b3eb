"""How messages are received: one event at a time, no more than there is room for, and in time."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Consumer, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import ContentDisallowed
from kombu.mixins import ConsumerMixin

from tests.contract.kombu.receiver import Receiver
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Connect = Callable[..., Connection]
    Publish = Callable[..., None]
    Waiting = Callable[[str], list[Any]]


def test_no_more_is_received_than_there_is_room_for(connection: Connection, publish: Publish, waiting: Waiting) -> None:
    """The prefetch count. What it leaves stays in the queue, for others."""
    publish("q", *range(5))
    receiver = Receiver(connection, "q", prefetch=2)

    assert receiver.receive(2) == [0, 1]
    assert receiver.receives_nothing()
    assert waiting("q") == [2, 3, 4]

    receiver.messages[0].ack()
    assert receiver.receive() == [2]
    assert receiver.receives_nothing()


def test_the_prefetch_count_can_be_changed(connection: Connection, publish: Publish) -> None:
    """At any time, up and down."""
    publish("q", *range(6))
    receiver = Receiver(connection, "q", prefetch=1)
    receiver.receive()

    receiver.consumer.qos(prefetch_count=3)
    assert receiver.receive(2) == [1, 2]
    receiver.consumer.qos(prefetch_count=1)
    receiver.messages[0].ack()
    receiver.messages[1].ack()
    assert receiver.receives_nothing()
    receiver.messages[2].ack()
    assert receiver.receive() == [3]
    receiver.consumer.qos(prefetch_count=0)
    assert receiver.receive(2) == [4, 5]


def test_two_channels_each_have_their_own_room(connection: Connection, publish: Publish) -> None:
    """A channel that is full does not keep the other from receiving."""
    publish("full", 1, 2)
    publish("free", 3, 4)
    full, free = Receiver(connection, "full", prefetch=1), Receiver(connection, "free", no_ack=True)

    free.wait_until(lambda: full.messages and len(free.messages) == 2)

    assert full.bodies == [1]
    assert free.bodies == [3, 4]


def test_waiting_for_an_event_ends_in_time(connect: Connect) -> None:
    """With `socket.timeout`, about as long as asked."""
    connection = connect(polling_interval=None)
    Receiver(connection, "q")
    for timeout in (0.5, 0.2, 1.3):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=timeout)
        assert timeout * 0.9 < time.monotonic() - began < timeout + 1.5


def test_looking_without_waiting_returns_at_once(connect: Connect) -> None:
    """A timeout of nothing."""
    connection = connect(polling_interval=None)
    Receiver(connection, "q")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    assert time.monotonic() - began < 0.5


def test_each_call_returns_after_one_event(connection: Connection, publish: Publish) -> None:
    """Though more are waiting."""
    publish("q", 1, 2, 3)
    receiver = Receiver(connection, "q")

    for number in (1, 2, 3):
        connection.drain_events(timeout=10)
        assert len(receiver.messages) == number


@pytest.mark.parametrize("timeout", [None, 20])
def test_an_event_is_noticed_when_it_comes(connect: Connect, publish: Publish, timeout: float | None) -> None:
    """A waiting call is woken; without a timeout it waits for as long as it takes."""
    connection = connect(polling_interval=None)
    receiver = Receiver(connection, "q")
    receiver.receives_nothing(0.1)
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        publish("q", "now")

    timer = threading.Timer(0.3, send)
    timer.start()
    connection.drain_events(timeout=timeout)
    came = time.monotonic()
    timer.join()

    assert receiver.bodies == ["now"]
    assert came - sent[0] < 0.9  # and not when the next look is due


def test_messages_that_come_one_by_one_come_at_once(connect: Connect, publish: Publish) -> None:
    """No message waits for the next look because its news came together with the answer to the last."""
    receiver = Receiver(connect(polling_interval=None), "q", no_ack=True)
    longest = 0.0
    for number in range(60):
        began = time.monotonic()
        publisher = threading.Thread(target=publish, args=("q", number))
        publisher.start()
        receiver.receive()
        longest = max(longest, time.monotonic() - began)
        publisher.join()

    assert receiver.bodies == list(range(60))
    assert longest < 0.9


def test_a_consumer_can_be_given_more_queues(connection: Connection, publish: Publish) -> None:
    """And fewer, while it consumes."""
    receiver = Receiver(connection, "a")
    receiver.receives_nothing(0.1)
    publish("b", "b0")

    receiver.consumer.add_queue(Queue("b"))
    receiver.consumer.consume()
    assert receiver.receive(ack=True) == ["b0"]

    receiver.consumer.cancel_by_queue("a")
    publish("a", "a0")
    publish("b", "b1")
    assert receiver.receive(ack=True) == ["b1"]
    assert receiver.receives_nothing()


def test_what_is_not_accepted_is_not_decoded(connection: Connection, publish: Publish) -> None:
    """A consumer names the kinds of content that it takes."""
    publish("q", {"a": 1}, serializer="yaml")
    channel = connection.channel()
    with (
        Consumer(channel, [Queue("q")], callbacks=[lambda _, message: message.ack()], accept=["json"]),
        pytest.raises(ContentDisallowed),
    ):
        connection.drain_events(timeout=10)


def test_contents_arrive_as_they_were_sent(connection: Connection, publish: Publish) -> None:
    """Text, bytes, other serializers, compression, headers and expiry."""
    publish("q", "é 👍")
    publish("q", b"\x00\xff", content_type="application/data", content_encoding="binary")
    publish("q", {"a": [1]}, compression="zlib", headers={"h": "v"}, expiration=3)
    publish("q", {"a": 1}, serializer="yaml", correlation_id="c", reply_to="r")
    receiver = Receiver(connection, "q")
    receiver.consumer.accept = None
    receiver.wait_until(lambda: len(receiver.messages) == 4)

    text, raw, packed, other = receiver.messages
    assert text.decode() == "é 👍"
    assert raw.decode() == b"\x00\xff"
    assert packed.decode() == {"a": [1]}
    assert packed.headers["h"] == "v"
    assert packed.properties["expiration"] == "3000"
    other.accept = {"application/x-yaml"}
    assert other.decode() == {"a": 1}
    assert (other.properties["correlation_id"], other.properties["reply_to"]) == ("c", "r")


class _Collector(ConsumerMixin):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.received: list[Any] = []

    def get_consumers(self, consumer_class: Any, _channel: Any) -> list[Any]:
        return [consumer_class([Queue("q")], callbacks=[self._on_message])]

    def _on_message(self, body: Any, message: Any) -> None:
        self.received.append(body)
        message.ack()


def test_a_consumer_mixin_consumes_until_it_is_stopped(
    connect: Connect, publish: Publish, broker_client: redis.Redis
) -> None:
    """And goes on after Redis has cut all connections."""
    collector = _Collector(connect())
    thread = threading.Thread(target=collector.run)
    thread.start()
    try:
        publish("q", 1, 2)
        eventually(lambda: collector.received == [1, 2], what="both are received")
        broker_client.client_kill_filter(_type="normal", skipme=True)
        with connect() as other:
            other.Producer().publish(3, routing_key="q")
        eventually(lambda: collector.received == [1, 2, 3], what="the third is received on a new connection")
    finally:
        collector.should_stop = True
        thread.join(20)
    assert not thread.is_alive()
    assert not broker_client.exists("unacked")


class _Loop:
    """A consumer in an event loop, as Celery's worker has it."""

    def __init__(self, connection: Connection, *queues: str, prefetch: int) -> None:
        self.messages: list[Any] = []
        self.hub = Hub()
        self.consumer = Consumer(
            connection.channel(), [Queue(name) for name in queues], on_message=self.messages.append
        )
        self.consumer.qos(prefetch_count=prefetch)
        self.consumer.consume()
        connection.register_with_event_loop(self.hub)
        self.hub.call_repeatedly(0.02, lambda: None)

    def run_until(self, look: Callable[[], Any], *, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout
        while not look():
            assert time.monotonic() < deadline, self.messages
            self.hub.run_once()

    def run_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.hub.run_once()


@pytest.mark.parametrize("prefetch", [1, 3, 10, 0])
def test_an_event_loop_receives_as_room_becomes_free(
    connect: Connect, publish: Publish, broker_client: redis.Redis, prefetch: int
) -> None:
    """Never more than that, each message once, in order; from both queues."""
    publish("a", *[f"a{number}" for number in range(20)])
    publish("b", *[f"b{number}" for number in range(5)])
    loop = _Loop(connect(), "a", "b", prefetch=prefetch)
    done: list[Any] = []
    while len(done) < 25:
        loop.run_until(lambda: loop.messages)
        loop.run_for(0.02)
        assert not prefetch or len(loop.messages) <= prefetch
        message = loop.messages.pop(0)
        done.append(message.payload)
        message.ack()

    assert [body for body in done if body[0] == "a"] == [f"a{number}" for number in range(20)]
    assert [body for body in done if body[0] == "b"] == [f"b{number}" for number in range(5)]
    assert done.index("b4") < 24 or prefetch == 0  # the longer queue does not starve the other
    loop.run_until(lambda: not broker_client.exists("unacked", "unacked_index"))
    loop.hub.close()


def test_an_event_loop_goes_on_when_its_queue_is_cancelled(
    connect: Connect, publish: Publish, waiting: Waiting
) -> None:
    """As Celery's `cancel_consumer` does: what is published to the queue stays there, and the loop turns."""
    loop = _Loop(connect(), "q", prefetch=2)
    publish("q", 1)
    loop.run_until(lambda: len(loop.messages) == 1)
    loop.run_for(0.1)

    loop.consumer.cancel()
    publish("q", 2)
    loop.run_for(0.3)
    loop.run_until(lambda: waiting("q") == [2])
    assert len(loop.messages) == 1

    loop.consumer.consume()
    loop.run_until(lambda: len(loop.messages) == 2)
    loop.hub.close()


def test_an_event_loop_survives_that_redis_cuts_its_connections(connect: Connect, broker_client: redis.Redis) -> None:
    """It raises a connection error, over which Celery connects again, or goes on by itself."""
    connection = connect()
    loop = _Loop(connection, "q", prefetch=2)
    loop.run_for(0.1)
    broker_client.client_kill_filter(_type="normal", skipme=True)
    with suppress(*connection.connection_errors):
        loop.run_for(0.5)
    loop.hub.close()
    with suppress(*connection.connection_errors):
        connection.release()

    with connect() as other:
        other.Producer().publish("later", routing_key="q")
        assert Receiver(other, "q").receive() == ["later"]
