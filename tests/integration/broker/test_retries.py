"""The transport's own connections try once: Celery reconnects, and a lease can't wait for redis-py's retries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.broker.consumers import connect

if TYPE_CHECKING:
    from tests.support.processes import RedisServer


def test_no_connection_of_the_transport_tries_again_by_itself(valkey: RedisServer) -> None:
    """What waits, what is pooled, and what renews leases."""
    with connect(valkey) as connection:
        channel = connection.default_channel

        made = [
            channel.client.connection_pool.make_connection(),
            channel.pool.make_connection(),
            channel.holder._pool.make_connection(),
        ]

        assert [each.retry.get_retries() for each in made] == [0, 0, 0]
        assert all("retry" in pool.connection_kwargs for pool in (channel.pool, channel.client.connection_pool))
