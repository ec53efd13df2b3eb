"""Where a message goes that is published to an exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Exchange, Producer, Queue
from kombu.transport.virtual.base import UndeliverableWarning

from tests.contract.kombu.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    Connect = Callable[..., Connection]
    Publish = Callable[..., None]


def _queues(exchange: Exchange, **routing_keys: str) -> list[Queue]:
    return [Queue(name, exchange, routing_key=key) for name, key in routing_keys.items()]


def _publish(connection: Any, exchange: Exchange, *routing_keys: str) -> None:
    """Publish messages whose bodies are their routing keys."""
    producer = Producer(connection, exchange)
    for key in routing_keys:
        producer.publish(key, routing_key=key)


def test_a_direct_exchange_delivers_by_the_routing_key(connect: Connect, connection: Connection) -> None:
    """To the queue that is bound with it, and to no other."""
    exchange = Exchange("colours", type="direct")
    red, blue = _queues(exchange, red="r", blue="b")
    reds, blues = Receiver(connection, red), Receiver(connect(), blue)

    _publish(connection, exchange, "r", "b", "r")

    assert reds.receive(2) == ["r", "r"]
    assert blues.receive() == ["b"]
    assert reds.receives_nothing()


def test_a_direct_exchange_delivers_to_each_queue_with_the_key(connection: Connection) -> None:
    """Each has its own copy, and may acknowledge it for itself."""
    exchange = Exchange("both", type="direct")
    receiver = Receiver(connection, *_queues(exchange, left="k", right="k"))

    _publish(connection, exchange, "k")

    assert receiver.receive(2, ack=True) == ["k", "k"]
    assert receiver.receives_nothing()


def test_a_topic_exchange_delivers_by_patterns(connect: Connect, connection: Connection) -> None:
    """A star is one word, a hash any number of words."""
    exchange = Exchange("topics", type="topic")
    receivers = {
        queue.name: Receiver(connect(), queue)
        for queue in _queues(exchange, star="news.*", hash="news.#", exact="news.sport", all="#")
    }

    _publish(connection, exchange, "news.sport", "news.sport.golf", "weather")

    assert receivers["star"].receive() == ["news.sport"]
    assert receivers["hash"].receive(2) == ["news.sport", "news.sport.golf"]
    assert receivers["exact"].receive() == ["news.sport"]
    assert receivers["all"].receive(3) == ["news.sport", "news.sport.golf", "weather"]
    assert receivers["star"].receives_nothing()


def test_a_fanout_exchange_delivers_to_everybody_who_listens(connect: Connect) -> None:
    """To no other: what is published before is gone."""
    exchange = Exchange("news", type="fanout")
    publisher = connect()
    Producer(publisher, exchange).publish("before", declare=[exchange])
    listeners = [Receiver(connect(), Queue(f"listener-{number}", exchange), no_ack=True) for number in range(3)]
    for listener in listeners:
        listener.receives_nothing(0.1)  # its subscription is under way

    Producer(publisher, exchange).publish("now")

    assert [listener.receive() for listener in listeners] == [["now"]] * 3


def test_a_fanout_queue_may_listen_to_a_pattern(connect: Connect) -> None:
    """Beyond AMQP: Kombu's `fanout_patterns`."""
    exchange = Exchange("patterns", type="fanout")
    listener = Receiver(connect(), Queue("sport", exchange, routing_key="sport.#"), no_ack=True)
    listener.receives_nothing(0.1)

    _publish(connect(), exchange, "weather.rain", "sport.golf")

    assert listener.receive() == ["sport.golf"]


def test_queues_and_broadcasts_are_received_on_one_channel(connect: Connect, connection: Connection) -> None:
    """As a worker does, which takes tasks and commands."""
    broadcasts = Exchange("commands", type="fanout")
    receiver = Receiver(connection, Queue("tasks"), Queue("mine", broadcasts))
    receiver.receives_nothing(0.1)
    publisher = connect()

    Producer(publisher).publish("task", routing_key="tasks")
    Producer(publisher, broadcasts).publish("command")

    assert sorted(receiver.receive(2)) == ["command", "task"]


def test_the_default_exchange_delivers_to_the_queue_of_that_name(
    connection: Connection, publish: Publish, waiting: Callable[[str], list[Any]]
) -> None:
    """Whether or not anybody declared it."""
    publish("not-declared", "hello")

    assert waiting("not-declared") == ["hello"]
    assert Receiver(connection, "not-declared").receive() == ["hello"]


def test_a_deleted_queue_is_no_longer_bound(connection: Connection, waiting: Callable[[str], list[Any]]) -> None:
    """The exchange delivers to the others."""
    exchange = Exchange("shrinking", type="direct")
    gone, stays = (queue(connection.default_channel) for queue in _queues(exchange, gone="k", stays="k"))
    gone.declare()
    stays.declare()
    _publish(connection, exchange, "k")

    gone.delete()
    _publish(connection, exchange, "k")

    assert waiting("gone") == []
    assert waiting("stays") == ["k", "k"]


def test_what_has_no_queue_goes_to_the_dead_letter_queue_if_there_is_one(
    connect: Connect, waiting: Callable[[str], list[Any]]
) -> None:
    """Kombu's option `deadletter_queue`."""
    exchange = Exchange("empty", type="direct")
    with pytest.warns(UndeliverableWarning):
        Producer(connect(deadletter_queue="lost"), exchange).publish("k", routing_key="k", declare=[exchange])

    assert waiting("lost") == ["k"]


def test_a_batch_is_published_whole(connection: Connection, waiting: Callable[[str], list[Any]]) -> None:
    """`Producer.batch` groups the commands: the messages lie in their order, each in its queue."""
    producer = connection.Producer()
    with producer.batch():
        for number in range(5):
            producer.publish(number, routing_key="even" if number % 2 == 0 else "odd")

    assert waiting("even") == [0, 2, 4]
    assert waiting("odd") == [1, 3]


def test_bindings_are_known_to_every_connection(connect: Connect, broker_client: redis.Redis) -> None:
    """They lie in Redis: a client that never declared a queue can publish to it through its exchange."""
    exchange = Exchange("shared", type="topic")
    Queue("q", exchange, routing_key="a.*")(connect().default_channel).declare()

    publisher = connect()
    exchange(publisher.default_channel).declare()
    _publish(publisher, exchange, "a.b")

    assert broker_client.smembers("_kombu.binding.shared")
    assert Receiver(connect(), "q").receive() == ["a.b"]
