"""A producer in a process that eventlet has patched, where `select.poll` is missing."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from producer._connection import READABLE, WRITABLE, poller

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


def test_a_backend_on_eventlet_enqueues(valkey: RedisServer) -> None:
    """Gunicorn -k eventlet and Flask-SocketIO; while it waits for Redis, other green threads run."""
    ended = subprocess.run(
        [sys.executable, "-c", _BACKEND, valkey.url], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stdout) == (0, "others had a turn\n"), ended.stderr
    with valkey.client() as client:
        assert client.llen("feedback") == 3
