"""The transport's signs of life, where an event loop does not turn by itself."""

from __future__ import annotations

import os
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection
from kombu import transport as kombu_transport
from kombu.transport import redis as kombu_redis

from worker.broker import install
from worker.broker.activity import ConsumerActivity
from worker.broker.transport import Transport


def drain(transport: Any) -> None:
    """Look once for messages; there are none."""
    with pytest.raises(TimeoutError):
        transport.drain_events(None, timeout=0)


def test_looking_for_neighbours_hides_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start Celery drains the connection before it consumes, and its first message may come right after.

    It may fill a pool of greenlets: its consumer waits then, and must have been seen before.
    """

    def no_message(*_: Any, **__: Any) -> None:
        raise Empty

    seen: list[set[str]] = []
    activity = ConsumerActivity()
    monkeypatch.setattr(activity, "turned", seen.append)
    transport: Any = Transport(Connection("redis://127.0.0.1:1/0", transport_options={"activity": activity}))
    transport.cycle = SimpleNamespace(get=no_message, wake_by=lambda *_: None, forget_wakeup=lambda: None)
    channel = SimpleNamespace(consumed_queues=[])
    transport.channels = [channel]

    drain(transport)
    channel.consumed_queues = ["feedback"]
    drain(transport)
    drain(transport)

    assert seen == [{"feedback"}]


def test_a_call_that_comes_while_the_pipe_is_emptied_is_not_the_last_that_wakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may wake the loop just before, and its byte is read too: the next call writes one again."""
    transport: Any = Transport(Connection("redis://127.0.0.1:1/0"))
    pipe = transport._open_wakeup_pipe()
    read = os.read

    def read_meanwhile(fileno: int, size: int) -> bytes:
        transport.wake()
        return read(fileno, size)

    transport.wake()
    monkeypatch.setattr(os, "read", read_meanwhile)
    transport._drain_wakeup_pipe()
    monkeypatch.undo()
    transport.wake()

    try:
        assert read(pipe, 4096) == b"!"
    finally:
        for end in transport._wakeup:
            os.close(end)


def test_our_transport_is_taken_where_kombus_was_used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another app of the process may have opened a connection before: Kombu looks a name up once, and remembers it."""
    monkeypatch.setitem(kombu_transport.TRANSPORT_ALIASES, "redis", "kombu.transport.redis:Transport")
    monkeypatch.delitem(kombu_transport._transport_cache, "redis", raising=False)
    assert kombu_transport.get_transport_cls("redis") is kombu_redis.Transport

    install()

    assert kombu_transport.get_transport_cls("redis") is Transport
