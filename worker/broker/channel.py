"""The channels, by how the broker's servers are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import redis
from kombu.transport import redis as kombu_redis

from worker.broker.partition_channel import PartitionChannel
from worker.broker.partitioned import PartitionedChannel
from worker.clients.redis.cluster import OwnerConnection, OwnerSSLConnection

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["Channel", "ClusterChannel", "SentinelChannel", "default_channel"]


class _Managed(kombu_redis.SentinelChannel):
    """Connections whose servers are found each time that one is made."""

    master: Any = None
    """The source of the server's address, a `worker.clients.redis.connections.Master`; None for Kombu's own."""

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> redis.ConnectionPool:
        if self.master is None:
            return super()._sentinel_managed_pool(asynchronous)
        options = self._connparams(asynchronous)
        return redis.ConnectionPool(**options | {"connection_pool": self.master})


class _SentinelPartition(PartitionChannel, _Managed):
    pass


class _ClusterPartition(_SentinelPartition):
    connection_class = OwnerConnection
    connection_class_ssl = OwnerSSLConnection


class Channel(PartitionedChannel):
    """The channel for ``redis://`` and ``rediss://``."""


class SentinelChannel(PartitionedChannel, _Managed):
    """The channel for ``sentinel://``."""

    from_transport_options: ClassVar[tuple[str, ...]] = (
        *PartitionedChannel.from_transport_options,
        *_Managed.from_transport_options,
        "master",
    )
    partition_class = _SentinelPartition


class ClusterChannel(SentinelChannel):
    """The channel for a cluster: of its own keys it speaks to the primary that has the first partition."""

    connection_class = OwnerConnection
    connection_class_ssl = OwnerSSLConnection
    partition_class = _ClusterPartition


def default_channel(connection: Connection) -> PartitionedChannel:
    """The channel that a connection over this transport keeps for commands."""
    return cast("PartitionedChannel", connection.default_channel)
