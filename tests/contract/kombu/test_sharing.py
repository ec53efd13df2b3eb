"""Kombu's own transport and ours on one Redis: plain clients and workers beside this system's."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Exchange, Queue

from tests.contract.kombu.conftest import PLACES, TRANSPORTS, Place
from tests.contract.kombu.receiver import Receiver
from worker.broker.safe_channel import SafeChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.support.processes import RedisServer

    Open = Callable[..., Connection]

BOTH_WAYS = pytest.mark.parametrize(("one", "other"), [("stock", "ours"), ("ours", "stock")])


RESTORES = {"unacked_restore_throttle": 1, "polling_interval": 1}
"""The stock transport looks for what the dead hold whenever it has waited in vain for as long as it drains for, and the
end of its BRPOP counts as something that it waited for."""


@pytest.fixture(params=["valkey-ours", "redis-ours"])
def place(request: pytest.FixtureRequest) -> Place:
    """Where both meet."""
    return PLACES[request.param]


@pytest.fixture
def connect(broker: RedisServer) -> Iterator[Open]:
    """Open connections by the names of their transports."""
    with ExitStack() as opened:

        def open_one(name: str, **options: Any) -> Connection:
            options = {"polling_interval": 0.1} | options
            connection: Connection = opened.enter_context(
                Connection(broker.url, transport=TRANSPORTS[name], transport_options=options)
            )
            return connection

        yield open_one


@BOTH_WAYS
def test_one_receives_what_the_other_publishes(connect: Open, one: str, other: str) -> None:
    """In order, by priority."""
    receiver = Receiver(connect(one), "q")
    producer = connect(other).Producer()
    producer.publish(1, routing_key="q")
    assert receiver.receive(ack=True) == [1]

    for number in (2, 3):
        producer.publish(number, routing_key="r")
    producer.publish("later", routing_key="r", priority=9)
    assert Receiver(connect(one), "r").receive(3, ack=True) == [2, 3, "later"]


@BOTH_WAYS
def test_one_hears_what_the_other_broadcasts(connect: Open, one: str, other: str) -> None:
    """As Flower and `celery inspect` do."""
    exchange = Exchange("news", type="fanout")
    listener = Receiver(connect(one), Queue("hears", exchange), no_ack=True)
    listener.receives_nothing(0.2)

    connect(other).Producer().publish("now", exchange=exchange, declare=[exchange])

    assert listener.receive() == ["now"]


@BOTH_WAYS
def test_each_message_of_a_shared_queue_is_received_once(
    connect: Open, one: str, other: str, broker_client: redis.Redis
) -> None:
    """Both consume from it, and give back what they leave."""
    producer = connect(one).Producer()
    for number in range(40):
        producer.publish(number, routing_key="q")
    receivers = [Receiver(connect(name), "q", prefetch=2) for name in (one, other)]
    got: list[int] = []
    while len(got) < 38:
        for receiver in receivers:
            receiver.receives_nothing(0.05)
            while receiver.messages and len(got) < 38:
                message = receiver.messages.pop(0)
                got.append(message.payload)
                message.ack()
    for receiver in receivers:
        receiver.connection.release()

    left = Receiver(connect(one), "q").receive(2, ack=True)
    assert sorted([*got, *left]) == list(range(40))
    assert not broker_client.exists("q", "unacked", "unacked_index")


@BOTH_WAYS
def test_what_one_returns_the_other_can_read(connect: Open, one: str, other: str) -> None:
    """A message that was requeued, with whatever it carries."""
    body = {"empty": [], "object": {}, "text": 'é "quoted" \\ /', "number": 1.0}
    connect(other).Producer().publish(body, routing_key="q", priority=3, headers={"h": []})
    receiver = Receiver(connect(one), "q")
    receiver.receive()
    receiver.messages[0].requeue()
    receiver.connection.release()

    again = Receiver(connect(other), "q")
    assert again.receive(ack=True) == [body]
    message = again.messages[0]
    assert message.headers == {"h": [], "redelivered": True}
    assert message.delivery_info["redelivered"] is True
    assert message.properties["priority"] == 3


@BOTH_WAYS
def test_one_recovers_what_the_other_left_behind(
    connect: Open, one: str, other: str, broker_client: redis.Redis
) -> None:
    """A worker was killed. After the visibility timeout a worker of the other kind finds what it held."""
    dead = connect(one, lease=0.4)
    dead.Producer().publish("left", routing_key="q", priority=6)
    receiver = Receiver(dead, "q")
    receiver.receive()
    _kill(receiver)
    broker_client.zadd("unacked_index", {receiver.messages[0].delivery_tag: time.time() - 100})

    finder = Receiver(connect(other, visibility_timeout=10, **RESTORES), "q")

    assert finder.receive(ack=True) == ["left"]
    assert finder.messages[0].headers["redelivered"] is True
    assert not broker_client.exists("unacked", "unacked_index")


def _kill(receiver: Receiver) -> None:
    """Let a consumer neither renew anything nor give anything back any more, as SIGKILL does."""
    receiver.channel.qos._on_collect.cancel()
    receiver.channel.qos._delivered.clear()
    if isinstance(receiver.channel, SafeChannel):
        for lease in receiver.channel.holders:  # more than one, where an answer came late and another lease was taken
            lease.forget()
            if lease._thread is not None:
                lease._thread.join()  # a renewal that is under way would make the messages younger
        receiver.channel.current_holder, receiver.channel._retired = None, []


def test_a_living_worker_keeps_what_it_holds_from_plain_workers(connect: Open, broker_client: redis.Redis) -> None:
    """Its lease is renewed in Kombu's own index, so that no visibility timeout passes while it lives."""
    holder = connect("ours", lease=0.8)
    holder.Producer().publish("held", routing_key="q")
    receiver = Receiver(holder, "q")
    receiver.receive()

    plain = Receiver(connect("stock", visibility_timeout=1, **RESTORES), "q")

    assert plain.receives_nothing(2.2)
    assert broker_client.hlen("unacked") == 1
    receiver.messages[0].ack()
    assert not broker_client.exists("unacked", "unacked_index")
