"""The transport's signs of life, where an event loop does not turn by itself."""

from __future__ import annotations

from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection

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
