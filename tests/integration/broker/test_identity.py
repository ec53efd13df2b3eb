"""Every entry of a queue is a message of its own, whatever its client wrote; when it returns it is the same message."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.broker.consumers import Worker
from tests.integration.broker.messages import as_text, content
from tests.support.processes import eventually
from worker.broker.payload import handed_out_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.support.processes import RedisServer

CONSTANT = "celery"
"""The one delivery tag that celery-ts writes into all messages."""


@pytest.fixture
def worker(broker: RedisServer) -> Iterator[Worker]:
    """A worker with room for any number of messages."""
    with Worker(broker, "a", lease=60) as worker:
        yield worker


@pytest.mark.parametrize("in_flight", ["together", "one after the other"])
def test_messages_with_one_tag_are_each_their_own(worker: Worker, broker_client: redis.Redis, in_flight: str) -> None:
    """Two that differ, and two that are the same byte for byte."""
    entries = [as_text(content(name, tag=CONSTANT)) for name in ("1", "2", "2")]
    broker_client.lpush("a", *entries)

    if in_flight == "together":
        received = worker.receive(at_least=3)
        assert broker_client.hlen("unacked") == 3
    else:
        received = []
        for _ in entries:
            received += (message := worker.take())
            message[0].ack()

    assert len({message.delivery_tag for message in received}) == 3
    assert CONSTANT not in {message.delivery_tag for message in received}


def _requeued(worker: Worker, message: Any, _: RedisServer) -> Worker:
    message.requeue()
    return worker


def _deferred(worker: Worker, message: Any, _: RedisServer) -> Worker:
    worker.channel.qos.defer(message.delivery_tag, wait=0)
    worker.settle()
    return worker


def _left(worker: Worker, _: Any, server: RedisServer) -> Worker:
    worker.close()
    return Worker(server, "a", lease=60)


def _crashed(worker: Worker, _: Any, server: RedisServer) -> Worker:
    worker.crash()
    with server.client() as client:
        client.zadd("unacked_leases", {worker.holder.id: 1})
        client.hset("unacked_pulse", mapping={"at": time.time_ns() // 1_000_000, "grace": 0})
    other = Worker(server, "a", lease=60)
    other.holder.start()
    eventually(lambda: other.holder._renewed, what="another worker has looked for the dead")
    with other.holder._one_at_a_time:  # until what those held has been returned
        pass
    return other


@pytest.mark.parametrize("returned", [_requeued, _deferred, _left, _crashed])
@pytest.mark.parametrize("entry", [as_text(content("1", tag=CONSTANT)), b"no message"], ids=["message", "poison"])
def test_a_message_that_returns_is_the_message_that_it_was(
    broker: RedisServer, broker_client: redis.Redis, returned: Callable[..., Worker], entry: bytes
) -> None:
    """However it comes back, and however often: adding its row or counting it twice is noticed by its identity."""
    broker_client.lpush("a", entry)
    worker = Worker(broker, "a", lease=60)
    [first] = worker.receive(at_least=1)

    worker = returned(worker, first, broker)
    [second] = worker.receive(at_least=1)
    worker = returned(worker, second, broker)
    [third] = worker.receive(at_least=1)
    third.ack()
    worker.close()

    assert first.delivery_tag == second.delivery_tag == third.delivery_tag


def test_a_copy_of_a_returned_message_is_another_one(worker: Worker, broker_client: redis.Redis) -> None:
    """Both are in flight at once, and none takes the other's place."""
    broker_client.lpush("a", as_text(content("1")))
    worker.receive(at_least=1)[0].requeue()
    [returned] = broker_client.lrange("a", 0, -1)
    broker_client.lpush("a", returned)

    received = worker.receive(at_least=2)

    assert len({message.delivery_tag for message in received}) == broker_client.hlen("unacked") == 2


def test_an_identity_tells_when_the_message_was_first_handed_out(worker: Worker, broker_client: redis.Redis) -> None:
    """By Redis' clock, and also when it has come again. What a client wrote tells nothing."""
    broker_client.lpush("a", as_text(content("1", tag="1764264000000-x")))
    [seconds, microseconds] = broker_client.time()
    now = seconds * 1000 + microseconds // 1000
    worker.receive(at_least=1)[0].requeue()

    [again] = worker.receive(at_least=1)

    at = handed_out_at(again.delivery_tag)
    assert at is not None
    assert now <= at < now + 60_000
    assert handed_out_at("1764264000000-x") is None
