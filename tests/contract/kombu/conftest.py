"""Every test here runs over Kombu's own Redis transport, too: what it says is what Kombu does."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection
from kombu.transport.redis import Channel

from tests.contract.kombu.receiver import body_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.support.processes import RedisServer

    Connect = Callable[..., Connection]

TRANSPORTS = {"stock": "kombu.transport.redis:Transport", "ours": "worker.broker.transport:Transport"}


@pytest.fixture(autouse=True)
def _no_broadcasts_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kombu keeps for the whole process which queues hear broadcasts; tests give them the names of ordinary ones."""
    monkeypatch.setattr(Channel, "_fanout_queues", {})


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Kombu's own transport, then the one that is to do the same."""
    return TRANSPORTS[request.param]


@pytest.fixture
def connect(broker: RedisServer, transport: str) -> Iterator[Connect]:
    """Open connections to the broker; the arguments are the transport's options."""
    with ExitStack() as opened:

        def open_one(**options: Any) -> Connection:
            # The stock transport closes once its BRPOP has timed out: after a second, if nothing is said.
            options = {"polling_interval": 0.1} | options
            connection: Connection = opened.enter_context(
                Connection(broker.url, transport=transport, transport_options=options)
            )
            return connection

        yield open_one


@pytest.fixture
def connection(connect: Connect) -> Connection:
    """A connection without options."""
    return connect()


@pytest.fixture
def publish(connect: Connect) -> Callable[..., None]:
    """Publish to a queue, over a connection of its own."""
    producer = connect().Producer()

    def publish_to(queue: str, *bodies: object, **properties: Any) -> None:
        for body in bodies:
            producer.publish(body, routing_key=queue, **properties)

    return publish_to


@pytest.fixture
def waiting(broker_client: redis.Redis) -> Callable[[str], list[Any]]:
    """What lies in a list of Redis, the next one first."""

    def look(name: str) -> list[Any]:
        return [body_of(str(entry)) for entry in reversed(broker_client.lrange(name, 0, -1))]

    return look
