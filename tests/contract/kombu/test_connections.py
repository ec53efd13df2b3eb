"""Connections: many of them, in pools, threads and processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, pools
from kombu.exceptions import OperationalError

from tests.contract.kombu.conftest import WITHOUT_PARTITIONS
from tests.contract.kombu.receiver import Receiver
from tests.support.processes import ROOT
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from tests.support.processes import RedisServer

    Connect = Callable[..., Connection]
    Publish = Callable[..., None]
    Waiting = Callable[[str], list[Any]]


def test_the_transport_is_the_one_that_is_named(connection: Connection, transport: str) -> None:
    """Else all the tests here would prove nothing. Celery knows it by the type of its driver."""
    cls = type(connection.transport)
    assert f"{cls.__module__}:{cls.__qualname__}" == transport
    assert (connection.transport.driver_type, connection.transport.driver_name) == ("redis", "redis")
    assert connection.transport.implements.asynchronous
    assert connection.supports_exchange_type("topic")


def test_a_connection_can_be_closed_and_used_again(connect: Connect, publish: Publish) -> None:
    """It is connected again."""
    connection = connect()
    for number in range(3):
        publish("q", number)
        connection.connect()
        assert Receiver(connection, "q").receive(ack=True) == [number]
        connection.close()
        assert not connection.connected


@pytest.mark.parametrize("place", WITHOUT_PARTITIONS, indirect=True)
def test_a_connection_to_nowhere_says_so(transport: str) -> None:
    """With an error that the caller can name; it can be tried for as long as one likes."""
    with Connection(f"redis://127.0.0.1:{free_port()}/0", transport=transport) as connection:
        with pytest.raises(OperationalError):
            connection.default_channel.basic_get("q")
        with pytest.raises(connection.connection_errors):
            connection.connect()
        with pytest.raises(OperationalError):
            connection.ensure_connection(max_retries=1, interval_start=0)


def test_publishing_is_tried_again_on_a_new_connection(
    connection: Connection, broker_client: redis.Redis, waiting: Waiting
) -> None:
    """Redis has cut the old one."""
    producer = connection.Producer()
    producer.publish(1, routing_key="q", retry=True)
    broker_client.client_kill_filter(_type="normal", skipme=True)
    producer.publish(2, routing_key="q", retry=True, retry_policy={"max_retries": 3, "interval_start": 0})

    assert waiting("q") == [1, 2]


def test_connections_and_producers_come_from_pools(connection: Connection, waiting: Waiting) -> None:
    """No more than the limit, and used again."""
    pool = connection.Pool(limit=2)
    first, second = pool.acquire(), pool.acquire()
    with pytest.raises(pool.LimitExceeded):
        pool.acquire()
    second.release()
    with pool.acquire() as again:
        assert again is second
        again.Producer().publish(1, routing_key="q")
    first.release()
    pool.force_close_all()
    for number in (2, 3):
        with pools.producers[connection].acquire(block=True) as producer:
            producer.publish(number, routing_key="q")
    pools.reset()

    assert waiting("q") == [1, 2, 3]


def test_threads_share_a_queue(connect: Connect, publish: Publish, broker_client: redis.Redis) -> None:
    """Each with its own connection: every message is received, and once."""
    publish("q", *range(120))
    got: Counter[int] = Counter()
    lock, failures = threading.Lock(), []

    def consume(connection: Connection) -> None:
        try:
            receiver = Receiver(connection, "q", prefetch=3)
            while sum(got.values()) < 120:
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
                while receiver.messages:
                    message = receiver.messages.pop()
                    message.ack()
                    with lock:
                        got[message.payload] += 1
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=consume, args=(connect(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert not failures
    assert got == Counter(range(120))
    assert not broker_client.exists("q", "unacked", "unacked_index")


@pytest.mark.parametrize("place", WITHOUT_PARTITIONS, indirect=True)
def test_a_process_that_forks_goes_on_in_both(broker: RedisServer, transport: str, broker_client: redis.Redis) -> None:
    """A pool of connections and messages in flight belong to the parent; the child makes its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.contract.kombu.forking", broker.url, transport]

    program = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert program.returncode == 0, program.stderr
    assert json.loads(program.stdout) == {
        "parent": ["before", "from the child"],
        "child": ["for the child"],
        "status": 0,
    }
    assert not broker_client.exists("unacked", "unacked_index", "to-parent", "to-child")
