"""Every way in waits for replicas where the settings ask for them: spool, outbox, gateway and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackProducer, outbox
from producer.spool import Spool, status_of
from tests.support.commands import command, succeed
from tests.support.gateway import PRESS, running_gateway
from tests.support.impostor import impostor
from tests.support.processes import VALKEY, eventually
from tests.support.producers import EVENT, produce
from tests.support.replication import ReplicatedRedis, replicated_redis

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ReplicatedRedis]:
    """A master and one replica, to be frozen and killed."""
    with replicated_redis(VALKEY, tmp_path / "group") as group:
        yield group


def _waits(pair: ReplicatedRedis) -> int:
    """How often the master was asked for its replicas."""
    with pair.client() as client:
        return int(client.info("commandstats").get("cmdstat_wait", {"calls": 0})["calls"])


@both
def test_what_no_replica_confirms_goes_to_the_spool_and_is_sent_until_one_does(
    kind: str, pair: ReplicatedRedis, tmp_path: Path
) -> None:
    """The call returns. While the replica hangs it is probed without sending the event over and over."""
    spool = Spool(tmp_path / "spool")
    with produce(kind, pair.url, replicas=1, spool=spool, timeout=0.5) as producer:
        producer.enqueue(EVENT)
        pair.replicas[0].run.pause()
        producer.enqueue(EVENT)
        assert (spool.spooled, spool.is_redis_available) == (1, False)
        producer.enqueue_many([EVENT] * 20)
        probed = _waits(pair)
        eventually(lambda: _waits(pair) > probed, what="it is probed")
        with pair.client() as client:
            assert client.llen("feedback") == 2
        assert status_of(spool.directory).events == 21

        pair.replicas[0].run.thaw()

        eventually(lambda: not status_of(spool.directory).events, what="the spool is empty")
    assert spool.sent == 21
    assert pair.queued() == [23, 23]


def test_a_row_stays_in_the_outbox_until_a_replica_has_its_event(pair: ReplicatedRedis, tmp_path: Path) -> None:
    """A master's word alone takes no row away."""
    engine = create_engine(f"sqlite:///{tmp_path}/backend.sqlite3")
    outbox.create_table(engine)
    with engine.begin() as connection:
        outbox.add(connection, EVENT)
    with FeedbackProducer(pair.url, replicas=1, timeout=5) as producer:
        producer.ping()
        relay = outbox.Relay(engine, producer)
        pair.replicas[0].run.pause()
        with pytest.raises(EnqueueUncertain, match="0 of 1 replicas confirmed"):
            relay.run_once()
        with engine.connect() as connection:
            assert outbox.status(connection).waiting == 1
        pair.replicas[0].run.thaw()

        assert relay.run_once() == 1

        with engine.connect() as connection:
            assert outbox.status(connection).waiting == 0
    engine.dispose()
    assert pair.queued() == [2, 2]


def test_the_gateway_answers_200_once_a_replica_has_the_event(pair: ReplicatedRedis, tmp_path: Path) -> None:
    """Otherwise 503; and it is not ready while no replica confirms."""
    with (
        running_gateway(
            tmp_path / "gateway",
            pair.url,
            FEEDBACK_ENQUEUE_REPLICAS="1",
            FEEDBACK_GATEWAY_ENQUEUE_TIMEOUT="0.5",
        ) as gateway,
        gateway.client() as client,
    ):
        assert client.get(PRESS).status_code == 200
        assert pair.queued() == [1, 1]
        assert client.get("/readyz").status_code == 200
        pair.replicas[0].run.pause()

        unconfirmed = client.get(PRESS)
        eventually(lambda: client.get("/readyz").status_code == 503, what="it is not ready")
        pair.replicas[0].run.thaw()
        eventually(lambda: client.get("/readyz").status_code == 200, what="it is ready again")

        assert client.get(PRESS).status_code == 200
        assert pair.queued() == [3, 3]
    assert unconfirmed.status_code == 503
    assert "may have been taken: send it again" in unconfirmed.text


@pytest.mark.parametrize("way", ["send", "relay", "spool"])
def test_commands_refuse_a_redis_without_the_replicas_that_are_asked_for(way: str, tmp_path: Path) -> None:
    """Their settings are the backend's; with nothing asked for they send the same."""
    engine = create_engine(f"sqlite:///{tmp_path}/backend.sqlite3")
    outbox.create_table(engine)
    with engine.begin() as connection:
        outbox.add(connection, EVENT)
    engine.dispose()
    (tmp_path / "spool").mkdir()
    with FeedbackProducer("redis://127.0.0.1:1", spool=tmp_path / "spool") as producer:
        producer.enqueue(EVENT)
    commands = {
        "send": ("send", str(EVENT.request_id), "true", "--org", "o", "--group", "g"),
        "relay": ("relay", "--once"),
        "spool": ("spool", "flush", str(tmp_path / "spool")),
    }
    sent = []

    def enqueue(peer: socket.socket) -> None:
        sent.append(way)
        peer.sendall(b":1\r\n")

    with impostor(enqueue, on_check=lambda peer: peer.sendall(b":0\r\n")) as url:
        environment = {"FEEDBACK_BROKER_URL": url, "FEEDBACK_OUTBOX_URL": f"sqlite:///{tmp_path}/backend.sqlite3"}
        refused = command({**environment, "FEEDBACK_ENQUEUE_REPLICAS": "1"}, *commands[way])
        sent_meanwhile = list(sent)
        succeed(environment, *commands[way])

    assert refused.exit_code == 1
    assert "0 of 1 replicas confirmed it in time" in refused.output
    assert (sent_meanwhile, sent) == ([], [way])


def test_an_uncertain_event_that_is_enqueued_again_is_certain(pair: ReplicatedRedis) -> None:
    """What `EnqueueUncertain` says to do; the worker delivers it once."""
    with FeedbackProducer(pair.url, replicas=1, timeout=0.5) as producer:
        producer.ping(timeout=10)
        pair.replicas[0].run.pause()
        with pytest.raises((EnqueueUncertain, BrokerUnavailable)) as raised:
            producer.enqueue_many([EVENT] * 3)
        pair.replicas[0].run.thaw()

        assert producer.enqueue_many(raised.value.not_taken, timeout=10) == 3

    assert pair.queued() == [6, 6]
