"""Every way in which a connection reaches a server, and who may do what there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError

from tests.contract.kombu.conftest import PLACES, Place
from tests.contract.kombu.receiver import Receiver
from tests.support.certificates import self_signed
from tests.support.processes import VALKEY, need, redis_server
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ("socket", "database", "tls", "password", "few rights")


@pytest.fixture(params=["redis-stock", "redis-ours"])
def place(request: pytest.FixtureRequest) -> Place:
    """Kombu's own transport, and ours."""
    return PLACES[request.param]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The arguments of a connection, for each way."""
    folder = tmp_path_factory.mktemp("servers")
    certificate, key = self_signed(folder)
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)]
    tls += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    with (
        redis_server(VALKEY, folder / "plain", "--unixsocket", str(folder / "redis.sock")) as plain,
        redis_server(need("redis-server"), folder / "encrypted", *tls),
        plain.client() as client,
    ):
        client.execute_command("ACL SETUSER celery on >se/cret ~* &* +@all")
        client.execute_command("ACL SETUSER few on >se/cret ~* &* +@all -client|tracking -@admin")
        yield {
            "socket": {"hostname": f"redis+socket://{folder}/redis.sock"},
            "database": {"hostname": f"redis://127.0.0.1:{plain.port}/7"},
            "tls": {"hostname": f"rediss://127.0.0.1:{port}/0", "ssl": {"ssl_ca_certs": str(certificate)}},
            "password": {"hostname": f"redis://celery:se%2Fcret@127.0.0.1:{plain.port}/1"},
            "few rights": {"hostname": f"redis://few:se%2Fcret@127.0.0.1:{plain.port}/2"},
        }


@pytest.mark.parametrize("way", WAYS)
def test_messages_go_over_every_way(servers: dict[str, Any], transport: str, way: str) -> None:
    """Those of queues, in both directions, and broadcasts."""
    exchange = Exchange("news", type="fanout")
    with Connection(**servers[way], transport=transport, transport_options={"polling_interval": 0.1}) as connection:
        receiver = Receiver(connection, "q", Queue("hears", exchange), prefetch=2)
        receiver.receives_nothing(0.2)
        producer = connection.Producer()

        producer.publish({"text": "é" * 50_000}, routing_key="q")
        producer.publish("now", exchange=exchange)
        receiver.receive(2)
        queued, broadcast = sorted(receiver.messages, key=lambda message: message.payload == "now")
        queued.requeue()
        broadcast.ack()

        assert receiver.receive(ack=True) == [queued.payload] == [{"text": "é" * 50_000}]
        assert connection.default_channel.client.hlen("unacked") == 0


@pytest.mark.parametrize("way", ["tls", "password"])
def test_who_is_not_trusted_is_refused(servers: dict[str, Any], transport: str, way: str) -> None:
    """A certificate of a stranger, a wrong password."""
    arguments = dict(servers[way])
    if way == "tls":
        del arguments["ssl"]
    else:
        arguments["hostname"] = arguments["hostname"].replace("se%2Fcret", "wrong")
    with Connection(**arguments, transport=transport) as connection, pytest.raises(OperationalError):
        connection.default_channel.basic_get("q")
