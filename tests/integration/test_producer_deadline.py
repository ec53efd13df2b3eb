"""However Redis fails to answer, a call ends within its budget, with the error that says what became of the event."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from tests.support.impostor import full_backlog, impostor
from tests.support.processes import VALKEY, RedisServer, eventually, need, redis_server
from tests.support.producers import EVENT, Outcome, attempt, produce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUDGET = 0.25
OVERSHOOT = 0.15  # what a busy machine may take to wake a waiting thread; on an idle one it takes a millisecond

pytestmark = pytest.mark.alone

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


def _assert_cut_off(outcome: Outcome, error: type[Exception], *, budget: float = BUDGET) -> None:
    assert type(outcome.error) is error
    assert outcome.error is not None
    assert outcome.error.not_taken == (EVENT,)
    assert outcome.seconds < budget + OVERSHOOT


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    """A server of the test's own, to be frozen: a Valkey, or what a test asks for. Frozen, one is as the other."""
    binary = need("redis-server") if getattr(request, "param", "valkey") == "redis" else VALKEY
    with redis_server(binary, tmp_path) as started:
        yield started


@both
@pytest.mark.parametrize("server", ["valkey", "redis"], indirect=True)
def test_a_server_that_freezes_leaves_the_event_uncertain_then_unsent(kind: str, server: RedisServer) -> None:
    """The first event had left; those after it meet no connection that answers."""
    with produce(kind, server.url) as producer:
        producer.enqueue(EVENT, timeout=5)
        server.run.pause()

        first = attempt(producer)
        later = [attempt(producer) for _ in range(3)]

        server.run.thaw()
    _assert_cut_off(first, EnqueueUncertain)
    for outcome in later:
        _assert_cut_off(outcome, BrokerUnavailable)


@both
def test_a_server_that_was_frozen_from_the_start_is_sent_nothing(kind: str, server: RedisServer) -> None:
    """The kernel accepts connections for it: only one that has answered is trusted with an event."""
    server.run.pause()
    with produce(kind, server.url) as producer:
        outcome = attempt(producer)
    server.run.thaw()

    _assert_cut_off(outcome, BrokerUnavailable)
    with server.client() as client:
        assert client.llen("feedback") == 0


@both
def test_a_server_that_thaws_serves_at_once(kind: str, server: RedisServer) -> None:
    """Nothing has to be restarted or waited for."""
    with produce(kind, server.url) as producer:
        producer.enqueue(EVENT, timeout=5)
        server.run.pause()
        frozen = [attempt(producer) for _ in range(2)]
        server.run.thaw()

        producer.enqueue(EVENT, timeout=5)

    assert all(outcome.error for outcome in frozen)


@both
def test_a_command_too_large_for_a_frozen_server_is_cut_off_too(kind: str, server: RedisServer) -> None:
    """It does not fit into the socket's buffers, so it is the sending that has to end in time."""
    with produce(kind, server.url) as producer:
        producer.enqueue(EVENT, timeout=5)
        server.run.pause()
        began = time.monotonic()

        with pytest.raises((BrokerUnavailable, EnqueueUncertain)):
            producer.enqueue_messages([b"x" * 100_000] * 200)

        seconds = time.monotonic() - began
        server.run.thaw()
    assert seconds < BUDGET + OVERSHOOT


@both
def test_packets_that_vanish_are_not_waited_for(kind: str) -> None:
    """A firewall that drops, a machine that is gone: connecting alone would take minutes."""
    with full_backlog() as url, produce(kind, url) as producer:
        outcomes = [attempt(producer) for _ in range(2)]

    for outcome in outcomes:
        _assert_cut_off(outcome, BrokerUnavailable)


@both
def test_a_port_without_a_server_is_reported_at_once(kind: str) -> None:
    """There is nothing to wait for."""
    with socket.socket() as bound:  # but not listening, so no other program can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        with produce(kind, f"redis://127.0.0.1:{bound.getsockname()[1]}/0", timeout=30) as producer:
            outcome = attempt(producer)

    _assert_cut_off(outcome, BrokerUnavailable, budget=5)
    assert "refused" in str(outcome.error)


@both
def test_a_name_that_does_not_resolve_in_time_is_not_waited_for(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No resolver takes a timeout, and a lost DNS packet costs five seconds."""
    resolver_answers = Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        resolver_answers.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with produce(kind, "redis://redis.example/0") as producer:
        outcome = attempt(producer)
        resolver_answers.set()

    _assert_cut_off(outcome, BrokerUnavailable)


@both
def test_an_answer_that_trickles_in_is_cut_off(kind: str) -> None:
    """Each byte comes in time; the answer does not."""
    over = Event()

    def trickle(peer: socket.socket) -> None:
        peer.sendall(b":")
        while not over.wait(0.02):
            peer.sendall(b"1")

    with impostor(trickle) as url, produce(kind, url) as producer:
        outcomes = [attempt(producer) for _ in range(2)]
        over.set()

    for outcome in outcomes:
        _assert_cut_off(outcome, EnqueueUncertain)


@both
def test_a_handshake_that_trickles_in_is_cut_off(kind: str) -> None:
    """redis-py begins its timeout again with each byte; the caller's budget does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = Event()

        def trickle() -> None:
            with suppress(OSError), listener.accept()[0] as peer:
                while not over.wait(0.02):
                    peer.sendall(b"+")

        trickling = Thread(target=trickle)
        trickling.start()
        with produce(kind, f"redis://127.0.0.1:{listener.getsockname()[1]}/0") as producer:
            outcome = attempt(producer)
        over.set()
        trickling.join()

    _assert_cut_off(outcome, BrokerUnavailable)


@both
def test_a_connection_that_breaks_before_the_answer_leaves_the_event_uncertain(kind: str) -> None:
    """Redis may have died before or after it took the event."""
    with impostor(lambda peer: peer.shutdown(socket.SHUT_RDWR)) as url, produce(kind, url) as producer:
        outcome = attempt(producer)

    _assert_cut_off(outcome, EnqueueUncertain)


@both
def test_what_does_not_answer_as_redis_does_is_not_believed(kind: str) -> None:
    """A web server on the port, say."""
    with impostor(lambda peer: peer.sendall(b"+QUEUED\r\n")) as url, produce(kind, url) as producer:
        outcome = attempt(producer)

    _assert_cut_off(outcome, EnqueueUncertain)


@both
def test_a_longer_budget_is_used_and_kept(kind: str, server: RedisServer) -> None:
    """A nightly script has more patience than a web request."""
    with produce(kind, server.url) as producer:
        producer.enqueue(EVENT, timeout=5)
        server.run.pause()

        outcome = attempt(producer, timeout=0.6)

        server.run.thaw()
    _assert_cut_off(outcome, EnqueueUncertain, budget=0.6)
    assert outcome.seconds >= 0.6


@both
def test_a_handshake_slower_than_the_budget_serves_a_later_call(kind: str) -> None:
    """Otherwise a server that answers after 0.4 s would never be reached at all."""
    slow = Event()

    def answer(peer: socket.socket) -> None:
        peer.sendall(b":1\r\n")

    with impostor(answer, before_greeting=lambda: slow.wait(60)) as url, produce(kind, url) as producer:
        first = attempt(producer)
        slow.set()

        eventually(lambda: attempt(producer).error is None, timeout=5, what="a later call is served")

    _assert_cut_off(first, BrokerUnavailable)
