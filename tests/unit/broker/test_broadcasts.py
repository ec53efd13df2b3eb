"""What is told to everyone while the servers are away: monitors miss it, and the event loop waits for none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kombu.transport import redis as kombu_redis

from worker.broker.activity import ConsumerActivity
from worker.broker.channel import Channel


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The exchanges of what went Kombu's way."""
    found: list[str] = []

    def put(_: object, exchange: str, *__: Any, **___: Any) -> None:
        found.append(exchange)

    monkeypatch.setattr(kombu_redis.Channel, "_put_fanout", put)
    return found


def a_channel(*, partitions: int, consumes: bool) -> Any:
    """A channel of a process none of whose servers answers."""
    channel: Any = Channel.__new__(Channel)
    activity = ConsumerActivity()
    activity.queues = {"feedback"} if consumes else ()
    channel.partitions, channel.telemetry = ("address",) * partitions, ("events",)
    channel.connection = SimpleNamespace(activity=activity)
    return channel


def test_a_worker_drops_what_monitors_are_told(told: list[str]) -> None:
    """Kombu would try for ever, and neither deliver nor stop meanwhile."""
    a_channel(partitions=3, consumes=True)._put_fanout("events", {}, "")

    assert told == []


@pytest.mark.parametrize(
    ("partitions", "consumes", "exchange"), [(3, True, "control"), (3, False, "events"), (0, True, "events")]
)
def test_all_else_goes_kombus_way(told: list[str], partitions: int, consumes: bool, exchange: str) -> None:
    """An operator's command is told or raises; a worker with one Redis has nothing to do without it."""
    a_channel(partitions=partitions, consumes=consumes)._put_fanout(exchange, {}, "")

    assert told == [exchange]
