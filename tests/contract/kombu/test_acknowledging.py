"""What is in flight: acknowledged, rejected, returned, or left behind."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Queue

from tests.contract.kombu.receiver import Receiver
from tests.support.processes import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Connect = Callable[..., Connection]
    Publish = Callable[..., None]
    Waiting = Callable[[str], list[Any]]


def _redelivered(message: Any) -> tuple[Any, Any]:
    """The two places in which a message says that it was handed out before."""
    return message.headers.get("redelivered"), message.delivery_info.get("redelivered")


def test_what_is_in_flight_is_in_unacked_until_it_is_acknowledged(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """By its delivery tag, in the hash and in the index."""
    publish("q", 1, 2)
    receiver = Receiver(connection, "q")
    receiver.receive(2)
    first, second = receiver.messages
    tags = [first.delivery_tag, second.delivery_tag]

    assert sorted(map(str, broker_client.hkeys("unacked"))) == sorted(tags)
    assert sorted(broker_client.zrange("unacked_index", 0, -1)) == sorted(tags)

    first.ack()
    assert broker_client.hkeys("unacked") == [second.delivery_tag]
    second.ack()
    assert not broker_client.exists("unacked", "unacked_index")


def test_what_needs_no_acknowledgement_is_never_in_flight(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """It is gone as soon as it is received."""
    publish("q", 1, 2)

    assert Receiver(connection, "q", no_ack=True).receive(2) == [1, 2]
    assert not broker_client.exists("q", "unacked", "unacked_index")


def test_one_message_can_be_got_without_consuming(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """`basic_get`; None if there is none. The most urgent comes first."""
    publish("q", "later", priority=6)
    publish("q", "now")
    queue = Queue("q")(connection.default_channel)

    message = queue.get()
    assert message.payload == "now"
    assert broker_client.hkeys("unacked") == [message.delivery_tag]
    message.ack()
    assert queue.get(no_ack=True).payload == "later"
    assert not broker_client.exists("unacked")
    assert queue.get() is None


def test_a_rejected_message_is_gone(connection: Connection, publish: Publish, broker_client: redis.Redis) -> None:
    """No other consumer gets it."""
    publish("q", 1)
    receiver = Receiver(connection, "q")
    receiver.receive()

    receiver.messages[0].reject()

    assert receiver.receives_nothing()
    assert not broker_client.exists("q", "unacked", "unacked_index")


@pytest.mark.parametrize("how", ["requeue", "reject"])
def test_a_requeued_message_comes_again_after_the_others(connection: Connection, publish: Publish, how: str) -> None:
    """It goes to the end of its queue, and says that it was handed out before."""
    publish("q", 1, 2, 3)
    receiver = Receiver(connection, "q", prefetch=1)
    receiver.receive()
    message = receiver.messages[0]
    assert not any(_redelivered(message))

    message.requeue() if how == "requeue" else message.reject(requeue=True)

    assert [receiver.receive(ack=True) for _ in range(3)] == [[2], [3], [1]]
    assert _redelivered(receiver.messages[-1]) == (True, True)
    assert not any(_redelivered(receiver.messages[1]))


def test_a_requeued_message_keeps_its_priority(connection: Connection, publish: Publish, waiting: Waiting) -> None:
    """It goes back to the list from which it came, whole."""
    publish("q", {"é": [1.5, None, "x" * 10_000]}, priority=6, headers={"mine": "yes"})
    receiver = Receiver(connection, "q")
    receiver.receive()
    receiver.consumer.cancel()

    receiver.messages[0].requeue()

    eventually(lambda: waiting("q\x06\x166"), what="it is back")
    again = Queue("q")(connection.default_channel).get(no_ack=True)
    assert again.payload == {"é": [1.5, None, "x" * 10_000]}
    assert again.headers["mine"] == "yes"
    assert again.delivery_tag == receiver.messages[0].delivery_tag


def test_a_message_is_settled_once(connection: Connection, publish: Publish) -> None:
    """Acknowledging it again raises."""
    publish("q", 1)
    receiver = Receiver(connection, "q")
    receiver.receive()
    message = receiver.messages[0]
    message.ack()

    for again in (message.ack, message.reject, message.requeue):
        with pytest.raises(message.MessageStateError):
            again()


def test_what_is_recovered_comes_again(connection: Connection, publish: Publish) -> None:
    """`recover`: all that is in flight, and that says so."""
    publish("q", 1, 2, 3)
    receiver = Receiver(connection, "q", prefetch=3)
    receiver.receive(3)
    receiver.messages[1].ack()

    receiver.consumer.recover(requeue=True)

    assert sorted(receiver.receive(2, ack=True)) == [1, 3]
    assert [_redelivered(message) for message in receiver.messages[3:]] == [(True, True)] * 2
    assert receiver.receives_nothing()


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_what_is_in_flight_goes_back_when_its_channel_closes(
    connect: Connect, publish: Publish, broker_client: redis.Redis, what: str
) -> None:
    """To the head of its queue: it is the next to be received."""
    publish("q", 1, 2, 3)
    connection = connect()
    receiver = Receiver(connection, "q", prefetch=1)
    receiver.receive()

    receiver.channel.close() if what == "channel" else connection.release()

    assert not broker_client.exists("unacked", "unacked_index")
    other = Receiver(connect(), "q")
    assert other.receive(3) == [1, 2, 3]
    assert [_redelivered(message) for message in other.messages] == [(True, True), (None, None), (None, None)]


def test_all_that_is_in_flight_goes_back_before_the_rest(connect: Connect, publish: Publish) -> None:
    """Whatever way it was received, and whatever its priority."""
    publish("q", 1, 2, 3)
    publish("q", 4, priority=9)
    connection = connect()
    receiver = Receiver(connection, "q", prefetch=2)
    receiver.receive(2)
    Queue("q")(receiver.channel).get()
    Queue("q")(receiver.channel).get()
    publish("q", 5)
    publish("q", 6, priority=9)

    connection.release()

    received = Receiver(connect(), "q").receive(6)
    assert sorted(received[:3]) == [1, 2, 3]
    assert received[3:] == [5, 4, 6]


def test_a_consumer_that_leaves_takes_nothing_more(connection: Connection, publish: Publish, waiting: Waiting) -> None:
    """What it has in flight it may still acknowledge. What is published afterwards stays where others can get it."""
    publish("q", 1)
    receiver = Receiver(connection, "q")
    receiver.receive()
    receiver.consumer.cancel()

    publish("q", 2)
    assert receiver.receives_nothing(0.3)
    receiver.messages[0].ack()

    eventually(lambda: waiting("q") == [2], what="the message is in its queue")


def test_messages_are_acknowledged_by_other_threads(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """As Celery's threads do."""
    publish("q", *range(5))
    receiver = Receiver(connection, "q", prefetch=5)
    receiver.receive(5)

    threads = [threading.Thread(target=message.ack) for message in receiver.messages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not broker_client.exists("unacked", "unacked_index")
    publish("q", "more")
    assert receiver.receive(ack=True) == ["more"]


def test_a_transport_may_do_without_acknowledgements(
    connect: Connect, publish: Publish, broker_client: redis.Redis
) -> None:
    """Option `ack_emulation`: nothing is kept in Redis of what is in flight."""
    publish("q", 1, 2)
    receiver = Receiver(connect(ack_emulation=False), "q", prefetch=1)

    assert receiver.receive() == [1]
    assert not broker_client.exists("unacked", "unacked_index")
    receiver.messages[0].ack()
    assert receiver.receive(ack=True) == [2]


def test_two_copies_of_a_message_are_two_messages(
    connection: Connection, publish: Publish, broker_client: redis.Redis
) -> None:
    """An entry that a client pushed twice, with one delivery tag: each is received."""
    publish("q", 1)
    broker_client.lpush("q", *broker_client.lrange("q", 0, 0))

    receiver = Receiver(connection, "q", prefetch=1)

    assert receiver.receive(ack=True) == [1]
    assert receiver.receive(ack=True) == [1]
    assert receiver.receives_nothing()
