"""Queues: their messages' order, their number, and their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError

from tests.contract.kombu.conftest import NOT_SPREAD, WITHOUT_PARTITIONS
from tests.contract.kombu.receiver import Receiver
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Connect = Callable[..., Connection]
    Publish = Callable[..., None]
    Waiting = Callable[[str], list[Any]]


def test_a_queue_is_first_in_first_out(connection: Connection, publish: Publish) -> None:
    """Its messages lie in one list of Redis: new ones on the left."""
    publish("q", *range(10))

    assert Receiver(connection, "q").receive(10) == list(range(10))


def test_the_lowest_priority_number_is_received_first(
    connection: Connection, publish: Publish, waiting: Waiting
) -> None:
    """Priorities between two steps belong to the lower one. Within a step it is first in, first out."""
    for priority in (9, 4, 0, 6, 3, 0):
        publish("q", priority, priority=priority)

    assert waiting("q") == [0, 0]
    assert waiting("q\x06\x163") == [4, 3]
    assert waiting("q\x06\x166") == [6]
    assert waiting("q\x06\x169") == [9]
    assert Receiver(connection, "q").receive(6) == [0, 0, 4, 3, 6, 9]


def test_steps_and_separator_can_be_chosen(connect: Connect, waiting: Waiting) -> None:
    """Options `priority_steps` and `sep`."""
    connection = connect(priority_steps=[0, 5], sep=":")
    for priority in (9, 5, 4):
        connection.Producer().publish(priority, routing_key="q", priority=priority)

    assert waiting("q:5") == [9, 5]
    assert Receiver(connection, "q").receive(3) == [4, 9, 5]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("round_robin", ["b0", "a0", "b1", "a1", "b2", "a2"]),
        ("priority", ["b0", "b1", "b2", "a0", "a1", "a2"]),
        ("sorted", ["a0", "a1", "a2", "b0", "b1", "b2"]),
    ],
)
def test_several_queues_take_turns_as_chosen(
    connect: Connect, publish: Publish, strategy: str, expected: list[str]
) -> None:
    """Option `queue_order_strategy`; by default no queue starves another."""
    publish("a", "a0", "a1", "a2")
    publish("b", "b0", "b1", "b2")

    assert Receiver(connect(queue_order_strategy=strategy), "b", "a").receive(6) == expected


def test_an_urgent_message_of_any_queue_comes_before_the_others(connection: Connection, publish: Publish) -> None:
    """Priorities go across the queues of a consumer."""
    publish("a", "a later", priority=9)
    publish("b", "b now", priority=0)

    assert Receiver(connection, "a", "b").receive(2) == ["b now", "a later"]


@pytest.mark.parametrize("place", WITHOUT_PARTITIONS, indirect=True)
def test_every_key_begins_with_the_chosen_prefix(connect: Connect, broker_client: redis.Redis) -> None:
    """Option `global_keyprefix`: two systems can share one database, and neither sees the other."""
    mine, other = connect(global_keyprefix="mine:"), connect(global_keyprefix="other:")
    exchange = Exchange("x", type="topic")
    queue = Queue("q", exchange, routing_key="#")
    receiver = Receiver(mine, queue)
    producer = mine.Producer()
    for priority in (0, 9):
        producer.publish(priority, exchange=exchange, routing_key="k", priority=priority)
    assert receiver.receive(2) == [0, 9]
    producer.publish("waits", exchange=exchange, routing_key="k", priority=3)

    keys = [str(key) for key in broker_client.scan_iter()]
    assert keys
    assert [key for key in keys if not key.startswith("mine:")] == []
    assert Receiver(other, queue).receives_nothing()

    for message in receiver.messages:
        message.ack()
    assert receiver.receive(ack=True) == ["waits"]
    eventually(lambda: not broker_client.exists("mine:unacked"), what="everything is acknowledged")


@pytest.mark.parametrize("place", WITHOUT_PARTITIONS, indirect=True)
def test_a_broadcast_is_heard_under_the_prefix_only(connect: Connect) -> None:
    """The prefix goes for channels, too."""
    exchange = Exchange("news", type="fanout")
    mine, other = connect(global_keyprefix="mine:"), connect(global_keyprefix="other:")
    hears, deaf = (Receiver(connection, Queue("q", exchange), no_ack=True) for connection in (mine, other))
    hears.receives_nothing(0.1)
    deaf.receives_nothing(0.1)

    mine.Producer().publish("now", exchange=exchange)

    assert hears.receive() == ["now"]
    assert deaf.receives_nothing()


def test_declaring_tells_how_many_messages_wait(connection: Connection, publish: Publish) -> None:
    """Of all priorities; what is in flight does not wait."""
    publish("q", 1, 2)
    publish("q", 3, priority=6)
    queue = Queue("q")(connection.default_channel)

    assert queue.queue_declare() == ("q", 3, 0)
    assert queue.get() is not None
    assert queue.queue_declare(passive=True).message_count == 2


def test_a_queue_is_there_as_long_as_it_has_messages(connection: Connection, publish: Publish) -> None:
    """A passive declaration asks only; it raises over what is not there."""
    channel = connection.default_channel
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)

    publish("q", 1, priority=3)

    assert channel.queue_declare("q", passive=True).message_count == 1


def test_purging_returns_how_many_there_were(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """Of all priorities. What is in flight stays in flight."""
    publish("q", 1, 2)
    publish("q", 3, priority=9)
    queue = Queue("q")(connection.default_channel)
    message = queue.get()

    assert queue.purge() == 2
    assert queue.purge() == 0
    assert queue.get() is None
    assert broker_client.hkeys("unacked") == [message.delivery_tag]


def test_deleting_a_queue_deletes_its_messages(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """Of all priorities, and its bindings."""
    exchange = Exchange("x", type="direct")
    queue = Queue("q", exchange, routing_key="k")(connection.default_channel)
    queue.declare()
    publish("q", 1)
    publish("q", 2, priority=9)

    queue.delete()

    assert queue.get() is None
    assert broker_client.keys("q*") == []
    assert not broker_client.exists("_kombu.binding.x")


def test_a_queue_with_messages_can_be_spared(connection: Connection, publish: Publish, waiting: Waiting) -> None:
    """`if_empty`."""
    queue = Queue("q", Exchange("x"), routing_key="k")(connection.default_channel)
    queue.declare()
    publish("q", 1)

    queue.delete(if_empty=True)

    assert waiting("q") == [1]


@pytest.mark.parametrize("place", NOT_SPREAD, indirect=True)
def test_an_unused_queue_expires(connection: Connection, broker_client: redis.Redis) -> None:
    """Argument `x-expires`, in ms; each use puts it off."""
    queue = Queue("q", expires=0.5)(connection.default_channel)
    queue.declare()
    producer = connection.Producer()
    producer.publish(1, routing_key="q")
    producer.publish(2, routing_key="q", priority=9)

    assert 0 < broker_client.pttl("q") <= 500
    assert 0 < broker_client.pttl("q\x06\x169") <= 500
    eventually(lambda: not broker_client.keys("q*"), timeout=5, what="the queue expires")
    assert queue.get() is None


@pytest.mark.parametrize("place", NOT_SPREAD, indirect=True)
def test_taking_a_message_puts_the_expiry_off(connection: Connection, broker_client: redis.Redis) -> None:
    """A queue in use does not expire."""
    queue = Queue("q", expires=30)(connection.default_channel)
    queue.declare()
    for number in (1, 2):
        connection.Producer().publish(number, routing_key="q")
    broker_client.pexpire("q", 5000)

    assert queue.get().payload == 1
    assert broker_client.pttl("q") > 5000


def test_an_automatic_queue_goes_with_its_channel(connection: Connection, broker_client: redis.Redis) -> None:
    """`auto_delete`, as the reply queues of remote control have it: its binding goes, too."""
    exchange = Exchange("news", type="fanout")
    receiver = Receiver(connection, Queue("q", exchange, auto_delete=True), no_ack=True)
    receiver.receives_nothing(0.1)
    assert broker_client.exists("_kombu.binding.news")

    receiver.channel.close()

    assert not broker_client.exists("_kombu.binding.news")
