"""One producer, many threads, and processes that fork."""

from __future__ import annotations

import json
import sys
import time
from subprocess import run
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable, FeedbackProducer
from producer.spool import records_of, status_of
from tests.support.places import request_id_of
from tests.support.processes import ROOT, VALKEY, RedisServer, redis_server
from tests.support.producers import EVENT, InThreads, attempt, first_enqueue

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    import redis

UNREACHABLE = "redis://127.0.0.1:1/0"


def test_threads_share_few_connections(broker: RedisServer, broker_client: redis.Redis) -> None:
    """32 threads on 4 connections: each waits its turn within its budget, and none gets another's answer."""
    made = broker_client.info("stats")["total_connections_received"]
    with FeedbackProducer(broker.url, timeout=10, max_connections=4) as producer:
        threads = [Thread(target=lambda: [producer.enqueue(EVENT) for _ in range(100)]) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert broker_client.llen("feedback") == 3_200
        assert broker_client.info("stats")["total_connections_received"] - made <= 4


@pytest.mark.alone
def test_a_call_that_gets_no_turn_is_not_sent(broker: RedisServer) -> None:
    """More calls than connections: who waits in vain learns that nothing was sent."""
    with InThreads(broker.url, max_connections=1) as producer:
        busy = producer._pool.take(time.monotonic() + 5)

        outcome = attempt(producer)

        producer._pool.release(busy)
        producer.enqueue(EVENT, timeout=5)
    assert type(outcome.error) is BrokerUnavailable
    assert "all 1 connections to Redis were busy" in str(outcome.error)
    assert outcome.seconds < 0.25 + 0.15


@pytest.mark.parametrize("address", ["{url}", "unix://{socket}", "redis://localhost:{port}/0", "redis://127.0.0.1:1/0"])
def test_nothing_is_imported_after_a_producer_is_made(address: str, tmp_path: Path) -> None:
    """A fork in the middle of an import leaves the child a lock that no thread of its own will release."""
    socket = tmp_path / "valkey.sock"
    with redis_server(VALKEY, tmp_path, "--unixsocket", str(socket)) as server:
        url = address.format(url=server.url, socket=socket, port=server.port)

        assert first_enqueue(url) == (not url.endswith(":1/0"), "[]")


@pytest.mark.parametrize("scheme", ["redis", "unix"])
def test_a_forked_backend_never_shares_a_socket(scheme: str, tmp_path: Path) -> None:
    """Gunicorn preloads the application and forks, while its threads are enqueuing."""
    path = tmp_path / "valkey.sock"
    with redis_server(VALKEY, tmp_path, "--unixsocket", str(path)) as server, server.client() as client:
        url = server.url if scheme == "redis" else f"unix://{path}"
        backend = _run("forking_backend", url)

        assert backend.returncode == 0, backend.stderr
        messages = client.lrange("feedback", 0, -1)
        assert len(messages) == int(backend.stdout)
        assert len({request_id_of(message) for message in messages}) == len(messages)
        assert len({json.loads(message)["headers"]["id"] for message in messages}) == len(messages)


def test_a_backend_that_is_forked_in_c_never_shares_a_socket(broker: RedisServer, broker_client: redis.Redis) -> None:
    """By uWSGI, which does not call Python's hooks: no child takes another's acknowledgement for its own."""
    backend = _run("c_forking_backend", broker.url)

    assert backend.returncode == 0, backend.stderr
    messages = broker_client.lrange("feedback", 0, -1)
    tasks = {json.loads(message)["headers"]["id"] for message in messages}
    assert len(tasks) == len(messages) == int(backend.stdout)


def test_a_backend_that_is_forked_in_c_never_shares_a_segment_of_its_spool(tmp_path: Path) -> None:
    """Each child has a file and a thread of its own: nothing that one was told is kept is taken back by another."""
    backend = _run("c_forking_backend", UNREACHABLE, str(tmp_path))

    assert backend.returncode == 0, backend.stderr
    kept = [record.event.request_id for record in records_of(tmp_path)]
    assert len(set(kept)) == len(kept) == int(backend.stdout)
    assert status_of(tmp_path).events == len(kept)


def _run(module: str, *arguments: str) -> CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.integration.{module}", *arguments]
    return run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
