"""The clients of a queue's partitions: one each, which says what stands before the partition's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from producer.partitions import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

__all__ = ["Partitions"]


class Partitions:
    """The clients of all partitions of one queue.

    Args:
        clients: One for each, by the partition's number. They are closed with this.
    """

    def __init__(self, clients: Sequence[redis.Redis]) -> None:
        self._clients = tuple(clients)

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[redis.Redis]:
        return iter(self._clients)

    def __getitem__(self, number: int) -> redis.Redis:
        return self._clients[number]

    @property
    def home(self) -> redis.Redis:
        """The client of the first partition, in which everything is that there is once for all of them."""
        return self._clients[0]

    def of(self, request_id: str) -> redis.Redis:
        """Return the client of the partition that an event belongs to."""
        return self._clients[partition_of(request_id, len(self._clients))]

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.close()
