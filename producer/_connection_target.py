"""What a connection leads to: the one Redis of a URL, or a node of its cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from producer.locator import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from producer._connection import RedisConnection
    from producer._partition_check import PartitionCheck
    from producer.address import Address
    from producer.broker_url import Place
    from producer.write_concern import WriteConcern

__all__ = ["ConnectionTarget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTarget:
    """Where to connect, and what a new connection must show before its first event.

    Attributes:
        address: The URL.
        prefix: What stands before the keys of a partition that is there.
        concern: What must confirm each command's write; None if Redis' own reply is enough.
        record: What the recorded number of partitions must be; None in a cluster, where another node may have it.
        place: Which node of the cluster it is; None if it is the one Redis.
        on_silence: Called, and more than once, while an answer does not come; another node may have taken over.
    """

    address: Address
    prefix: str
    concern: WriteConcern | None = None
    record: PartitionCheck | None = None
    place: Place | None = None
    on_silence: Callable[[], object] | None = None

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.address.tls

    @property
    def patience(self) -> float:
        """How long each step of connecting may take, in seconds."""
        return self.address.patience

    def connection(self) -> RedisConnection:
        """Return a connection that has yet to connect."""
        return self.address.connection() if self.place is None else self.address.node(self.place)

    def __str__(self) -> str:
        return str(self.address) if self.place is None else f"{shown(self.place)} of {self.address}"
