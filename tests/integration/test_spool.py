"""The spool between a backend and a real Redis that stops, hangs, is full, and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable, FeedbackEvent
from producer.spool import Spool, status_of
from tests.support.processes import ROOT, VALKEY, eventually, redis_server
from tests.support.producers import EVENT, produce

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.support.processes import RedisServer

KINDS = ["threads", "asyncio"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop; it keeps what it has taken."""
    (tmp_path / "redis").mkdir()
    with redis_server(VALKEY, tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def _events(count: int, first: int = 0) -> list[FeedbackEvent]:
    return [
        FeedbackEvent(request_id=f"77e81bbc-3e7f-47b9-87fa-{first + number:012d}", status=True, org="o", group="g")
        for number in range(count)
    ]


def _in_queue(client: redis.Redis) -> list[str]:
    messages = client.lrange("feedback", 0, -1)
    assert isinstance(messages, list)
    return [json.loads(json.loads(message)["body"])[1]["request_id"] for message in reversed(messages)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_redis_that_hangs_costs_one_call_its_budget_and_no_press(
    kind: str, server: RedisServer, tmp_path: Path
) -> None:
    """The first call finds out; the others go to disk at once, and all are in Redis when it goes on, in their order."""
    told: list[int] = []
    spool = Spool(tmp_path / "spool", on_spooled=lambda events: told.append(len(events)))
    with produce(kind, server.url, spool=spool, timeout=0.5) as producer, server.client() as client:
        producer.enqueue(EVENT)
        server.run.pause()
        try:
            began = time.monotonic()
            producer.enqueue(_events(1)[0])
            found_out = time.monotonic() - began
            assert not spool.is_redis_available
            began = time.monotonic()
            for event in _events(20, first=1):
                producer.enqueue(event)
            assert producer.enqueue_many(_events(1_000, first=21)) == 1_000
            assert time.monotonic() - began < 20 * found_out
        finally:
            server.run.thaw()

        eventually(lambda: not status_of(spool.directory).events, what="the spool is empty")

        assert found_out >= 0.4
        assert told == [1] * 21 + [500, 500]
        assert (spool.spooled, spool.sent, spool.is_redis_available) == (1_021, 1_021, True)
        names = [event.request_id for event in _events(1_021)]
        queued = _in_queue(client)
        # The call that found out may have been taken all the same: it stands there once more, before the others.
        assert queued[-1_021:] == names
        assert queued[0] == EVENT.request_id
        assert set(queued[1:-1_021]) <= {names[0]}
        assert client.hget("feedback:counts", "accepted") == str(len(queued))


@pytest.mark.parametrize("kind", KINDS)
def test_a_redis_that_is_full_takes_what_it_refused_once_there_is_room(
    kind: str, server: RedisServer, tmp_path: Path
) -> None:
    """It answers pings all the while: what is spooled is itself what shows that events are taken again."""
    with server.client() as client, produce(kind, server.url, spool=tmp_path / "spool") as producer:
        client.config_set("maxmemory", 1)
        for event in _events(3):
            producer.enqueue(event)
        assert status_of(tmp_path / "spool").events == 3

        client.config_set("maxmemory", 0)

        eventually(lambda: len(_in_queue(client)) == 3, what="the events are in Redis")
        assert _in_queue(client) == [event.request_id for event in _events(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_neither_redis_nor_disk_is_told_with_both_reasons(kind: str, tmp_path: Path) -> None:
    """And with the events, which their backend has to keep."""
    spool = Spool(tmp_path / "spool", max_bytes=10)
    expected = pytest.raises(BrokerUnavailable, match=r"the spool .* is full: it may take 10 bytes")
    with produce(kind, "redis://127.0.0.1:1/0", spool=spool) as producer, expected as refused:
        producer.enqueue(EVENT)
    assert refused.value.not_taken == (EVENT,)
    assert isinstance(refused.value.__cause__, BrokerUnavailable)
    assert "127.0.0.1:1" in str(refused.value.__cause__)


def test_a_closed_producer_spools_nothing(tmp_path: Path) -> None:
    """It was the backend that closed it."""
    producer = produce("threads", "redis://127.0.0.1:1/0", spool=tmp_path / "spool")
    producer.close()

    with pytest.raises(BrokerUnavailable, match="the producer is closed"):
        producer.enqueue(EVENT)
    assert status_of(tmp_path / "spool").events == 0


BACKEND = """
import os, sys
from producer import FeedbackEvent, FeedbackProducer
url, spool, first, forks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
producer = FeedbackProducer(url, spool=spool, timeout=0.5)
def press(number):
    producer.enqueue(f"77e81bbc-3e7f-47b9-87fa-{number:012d}", True, org="o", group="g")
    print(number, flush=True)
if forks:
    press(first)  # the parent's threads and its segment are not the children's
for child in range(1, forks + 1):
    if os.fork() == 0:
        first += child * 1_000_000
        break
number = first + 1
while True:
    press(number)
    number += 1
"""


def _backend(url: str, spool: Path, log: Path, *, first: int, forks: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BACKEND, url, str(spool), str(first), str(forks)]
    with log.open("wb") as out:
        return subprocess.Popen(command, cwd=ROOT, stdout=out, start_new_session=True)


def _acknowledged(log: Path) -> set[str]:
    whole = log.read_text().rpartition("\n")[0].split()
    return {f"77e81bbc-3e7f-47b9-87fa-{int(number):012d}" for number in whole}


def _has_acknowledged(log: Path) -> bool:
    return len(_acknowledged(log)) > 100


def test_a_backend_that_is_killed_while_it_spools_has_lost_nothing(server: RedisServer, tmp_path: Path) -> None:
    """With the processes that it had forked, again and again, while Redis hangs; another process sends what it kept."""
    spool = tmp_path / "spool"
    server.run.pause()
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    for number, log in enumerate(logs):
        backend = _backend(server.url, spool, log, first=number * 10_000_000, forks=2)
        eventually(partial(_has_acknowledged, log), what="presses were kept")
        os.killpg(backend.pid, signal.SIGKILL)
        backend.wait()
    server.run.thaw()
    acknowledged = set().union(*map(_acknowledged, logs))
    assert status_of(spool).writers == 0

    with produce("threads", server.url, spool=spool), server.client() as client:
        eventually(lambda: not status_of(spool).events, what="another process has sent what was kept")
        queued = _in_queue(client)

    assert acknowledged <= set(queued)
    assert len(queued) == len(set(queued))


def test_a_forked_child_that_lives_on_keeps_no_lock_of_its_parents(server: RedisServer, tmp_path: Path) -> None:
    """A lock belongs to the open file, which a child inherits: the parent's segment would be written for ever."""
    spool = Spool(tmp_path / "spool")
    spool.put(_events(1), "feedback")
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        spool.close()  # the parent ends
        with produce("threads", server.url, spool=tmp_path / "spool"), server.client() as client:
            eventually(lambda: len(_in_queue(client)) == 1, what="the parent's event is sent")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_child_whose_gevent_patches_after_the_fork_spools(tmp_path: Path) -> None:
    """As gunicorn's gevent workers do with --preload: older locks would block the greenlet that has to free them."""
    code = f"""
import os, time
from producer import FeedbackProducer
producer = FeedbackProducer("redis://127.0.0.1:1/0", spool={str(tmp_path / "spool")!r})
if (child := os.fork()) == 0:
    from gevent import joinall, monkey, spawn
    monkey.patch_all()
    began = time.monotonic()
    names = [f"77e81bbc-3e7f-47b9-87fa-{{number:012d}}" for number in range(20)]
    pressed = [spawn(producer.enqueue, name, True, org="o", group="g") for name in names]
    joinall(pressed)
    assert all(press.successful() for press in pressed), [press.exception for press in pressed]
    os._exit(time.monotonic() - began > 10)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)

    assert status_of(tmp_path / "spool").events == 20


def test_a_disk_that_is_full_is_told_and_what_was_kept_is_sent(server: RedisServer, tmp_path: Path) -> None:
    """A file may not grow beyond 4 KiB here: the line that did not fit is taken back, whole."""
    code = f"""
import resource
from producer import BrokerUnavailable, FeedbackProducer
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
producer = FeedbackProducer("redis://127.0.0.1:1/0", spool={str(tmp_path / "spool")!r})
for number in range(1, 100):
    try:
        producer.enqueue(f"77e81bbc-3e7f-47b9-87fa-{{number:012d}}", True, org="o", group="g")
    except BrokerUnavailable as error:
        assert "can't be written: File too large" in str(error), error
        print(number)
        break
producer.enqueue("77e81bbc-3e7f-47b9-87fa-999999999999", True, org="o", group="g")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    refused = int(ended.stdout)

    with produce("threads", server.url, spool=tmp_path / "spool"), server.client() as client:
        eventually(lambda: len(_in_queue(client)) == refused, what="what was kept is sent")

        kept = [*range(1, refused), 999_999_999_999]
        assert _in_queue(client) == [f"77e81bbc-3e7f-47b9-87fa-{number:012d}" for number in kept]
