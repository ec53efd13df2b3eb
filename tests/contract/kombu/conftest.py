"""Every test here runs over Kombu's own Redis transport, too: what it says is what Kombu does.

And over ours where there are several partitions, on one Redis and on a cluster. There the messages of these tests,
which are no events, lie in the first one; the others are consumed from as well, and are empty.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from kombu import Connection
from kombu.transport.redis import Channel

from producer.partitions import tags
from tests.conftest import empty
from tests.contract.kombu.counting import COUNTS
from tests.contract.kombu.receiver import body_of
from tests.support.clusters import RedisCluster, redis_cluster
from tests.support.processes import VALKEY
from tests.support.tagged_redis import TaggedRedis
from worker.clients.redis.connections import kombu_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from tests.support.processes import RedisServer

    Connect = Callable[..., Connection]

TRANSPORTS = {"stock": "kombu.transport.redis:Transport", "ours": "worker.broker.transport:Transport"}

PARTITIONS: Final = 3


@dataclass(frozen=True)
class Place:
    """A broker, and a transport to it.

    Attributes:
        server: The fixture of its server.
        transport: The transport.
        partitions: How many there are; 0 if that is not said.
        spread: Whether the queues lie in all of them; else in the first one, as other applications' do.
    """

    server: str
    transport: str
    partitions: int = 0
    spread: bool = False


WITHOUT_PARTITIONS: Final = {
    f"{server}-{name}": Place(server, TRANSPORTS[name])
    for server, name in (("redis", "stock"), ("valkey", "ours"), ("redis", "ours"))
}
"""Kombu's own on one server alone: it is there to show that what these tests say is true of it."""

PLACES: Final = WITHOUT_PARTITIONS | {
    "partitions": Place("valkey", TRANSPORTS["ours"], PARTITIONS),
    "spread": Place("valkey", "tests.contract.kombu.counting:Transport", PARTITIONS, spread=True),
    "cluster": Place("cluster", "tests.contract.kombu.counting:ClusterTransport", len(tags(16)), spread=True),
}
NOT_SPREAD: Final = [name for name, place in PLACES.items() if not place.spread]
"""A queue that is counted never expires: so would messages that were accepted."""

_SERVERS: Final = {"valkey": "_valkey", "redis": "_debian_redis", "cluster": "_cluster"}


@pytest.fixture(autouse=True)
def _no_broadcasts_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kombu keeps for the whole process which queues hear broadcasts; tests give them the names of ordinary ones."""
    monkeypatch.setattr(Channel, "_fanout_queues", {})


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(VALKEY, tmp_path_factory.mktemp("cluster"), replicas=False) as started:
        yield started


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Kombu's own transport, then the one that is to do the same; last where there are several partitions."""
    return PLACES[request.param]


@pytest.fixture
def transport(place: Place) -> str:
    """The transport."""
    return place.transport


@pytest.fixture
def where(request: pytest.FixtureRequest, place: Place) -> RedisServer | RedisCluster:
    """A real broker, empty."""
    server: RedisServer | RedisCluster = request.getfixturevalue(_SERVERS[place.server])
    for each in server.servers if isinstance(server, RedisCluster) else [server]:
        empty(each)
    return server


@pytest.fixture
def broker(where: RedisServer | RedisCluster) -> RedisServer:
    """The server that has what there is once."""
    return where.owner() if isinstance(where, RedisCluster) else where


@pytest.fixture
def broker_client(broker: RedisServer, place: Place) -> Iterator[redis.Redis]:
    """A connection for looking into it, by the names that keys have without partitions."""
    prefix = tags(place.partitions)[0] if place.partitions else ""
    with TaggedRedis(broker.port, prefix.encode(), decode_responses=True) if prefix else broker.client() as client:
        yield client


@pytest.fixture
def connect(where: RedisServer | RedisCluster, place: Place) -> Iterator[Connect]:
    """Open connections to the broker; the arguments are the transport's options."""
    url, own = where.url, {}
    if place.partitions:
        told = kombu_broker(where.url, partitions=place.partitions)
        url, own = told.url, told.transport_options | ({"counts": COUNTS} if place.spread else {})
    with ExitStack() as opened:

        def open_one(**options: Any) -> Connection:
            # The stock transport closes once its BRPOP has timed out: after a second, if nothing is said.
            options = {"polling_interval": 0.1} | own | options
            connection: Connection = opened.enter_context(
                Connection(url, transport=place.transport, transport_options=options)
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
