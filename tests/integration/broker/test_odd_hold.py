"""A hold's key with something else in it stops the hand-over, and no worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.broker.consumers import connect
from worker.clients.redis.keys import FeedbackKeys

if TYPE_CHECKING:
    from tests.support.processes import RedisServer


HOLD = FeedbackKeys().hold


@pytest.mark.parametrize(
    "odd",
    ["a text", {"kind": "odd"}, {"probe_at": "1", "probes": "many"}, {"kind": "breaker", "probe_at": "soon"}],
    ids=str,
)
def test_an_odd_hold_hands_out_a_probe_at_most(broker: RedisServer, odd: dict[str, str] | str) -> None:
    """Once it is deleted, which `resume` does, everything is handed out."""
    with connect(broker, holds={"feedback": HOLD}) as connection, broker.client() as client:
        channel: Any = connection.default_channel
        with connection.Producer(channel) as producer:
            for _ in range(2):
                producer.publish("event", routing_key="feedback", serializer="json")
        client.set(HOLD, odd) if isinstance(odd, str) else client.hset(HOLD, mapping=dict(odd))

        first, second = (channel.basic_get("feedback", no_ack=True) for _ in range(2))
        assert (first is not None) == (odd == {"probe_at": "1", "probes": "many"})
        assert second is None

        client.delete(HOLD)
        assert channel.basic_get("feedback", no_ack=True) is not None
