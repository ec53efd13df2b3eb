"""A producer in a process that eventlet has patched, where `select.poll` is missing."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from producer._connection import READABLE, WRITABLE, poller, wait_for_any
from tests.support.made_up_cluster import made_up_cluster

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

_BACKEND = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
import sys, uuid
from producer import FeedbackProducer
turns = []
eventlet.spawn(lambda: [turns.append(eventlet.sleep(0)) for _ in range(10_000)])
with FeedbackProducer(sys.argv[1], timeout=10) as producer:
    for _ in range(3):
        producer.enqueue(str(uuid.uuid4()), True, org="o", group="g")
print("others had a turn" if turns else "no other had a turn")
"""


@pytest.mark.parametrize("has_poll", [True, False])
def test_a_socket_is_ready_alike_with_and_without_poll(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    """To be written at once, to be read once something has come or the other end has closed."""
    if not has_poll:
        monkeypatch.delattr(select, "poll")
    here, there = socket.socketpair()
    with here, there:
        to_read = poller(here, READABLE)

        assert not to_read.poll(0)
        assert poller(here, WRITABLE).poll(0)
        there.close()
        assert to_read.poll(0)


@pytest.mark.parametrize("has_poll", [True, False])
def test_the_first_of_several_that_is_ready_ends_the_wait(monkeypatch: pytest.MonkeyPatch, has_poll: bool) -> None:
    """Of a call over several primaries; the wait has no end here but a socket's."""
    if not has_poll:
        monkeypatch.delattr(select, "poll")
    ones, others = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    with ones[0], ones[1], ones[2], others[0], others[1], others[2]:
        wait_for_any([(ones[0], READABLE), (ones[1], READABLE), (ones[2], WRITABLE)], 3_600)
        others[1].send(b"x")
        wait_for_any([(ones[0], READABLE), (ones[1], READABLE)], 3_600)
        wait_for_any([(ones[0], READABLE)], 0)
        assert ones[1].recv(1) == b"x"


def test_a_backend_on_eventlet_enqueues(valkey: RedisServer) -> None:
    """Gunicorn -k eventlet and Flask-SocketIO; while it waits for Redis, other green threads run."""
    ended = subprocess.run(
        [sys.executable, "-c", _BACKEND, valkey.url], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "others had a turn\n"), ended.stderr
    with valkey.client() as client:
        assert client.llen("feedback") == 3


@pytest.mark.parametrize(
    "patch", ["import eventlet; eventlet.monkey_patch()", "from gevent import monkey; monkey.patch_all()"]
)
def test_a_patched_backend_enqueues_into_a_cluster(patch: str) -> None:
    """One by one, and a chunk to all primaries at once, over green sockets."""
    backend = f"""
import warnings
warnings.simplefilter("ignore")
{patch}
import sys, uuid
from producer import FeedbackProducer
fields = {{"status": True, "org": "o", "group": "g"}}
with FeedbackProducer(sys.argv[1], timeout=10) as producer:
    for _ in range(30):
        producer.enqueue(str(uuid.uuid4()), True, org="o", group="g")
    print(producer.enqueue_many(fields | {{"request_id": str(uuid.uuid4())}} for _ in range(1_000)))
"""
    with made_up_cluster() as cluster:
        command = [sys.executable, "-c", backend, cluster.url]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

        assert (ended.returncode, ended.stdout) == (0, "1000\n"), ended.stderr
        assert all(node.enqueued for node in cluster.nodes)
        for node in cluster.nodes:
            assert set(node.enqueued) <= set(cluster.partitions_of(node))
