"""A holder notices that its lease has ended, and counts it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import redis

from tests.processes import eventually
from worker.accounts.keys import KEYS
from worker.broker.holder import Holder

if TYPE_CHECKING:
    import pytest

    from tests.processes import RedisServer


def test_a_lease_that_ended_before_it_was_renewed_is_told_and_counted(
    broker: RedisServer, broker_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each time: others may have what it held."""
    before = Holder.leases_lost
    holder = Holder(redis.ConnectionPool(port=broker.port), KEYS, lease=0.4)

    with caplog.at_level(logging.WARNING):
        holder.start()
        eventually(lambda: broker_client.exists(KEYS.holders), what="it has a lease")
        assert Holder.leases_lost == before
        broker_client.delete(KEYS.holders)
        eventually(lambda: Holder.leases_lost > before, what="it notices that it has none")
        eventually(lambda: broker_client.exists(KEYS.holders), what="it has one again")
    holder.release()

    assert Holder.leases_lost == before + 1
    assert "ended before it was renewed" in caplog.text
