"""The number of partitions that a queue was made with: it is recorded in Redis, and never changes.

With another number an event would be looked for, and counted, in a partition in which it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producer.message import QUEUE, counts_of
from producer.partitions import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

__all__ = ["PartitionMismatch", "PartitionRecord"]

_SINGLE: Final = "1"


class PartitionMismatch(Exception):
    """The queue was made with another number of partitions; the message says with how many, and what to do."""


class PartitionRecord:
    """The recorded number of partitions of one queue.

    Args:
        client: Reaches the record's key. It is closed with this.
        prefixes: What stands before the keys of each partition, as this program is told.
        is_cluster: Whether it is one; else it is one Redis, which may have a queue without partitions.

    Every method but `close` raises `redis.RedisError` when Redis is unavailable, or refuses.
    """

    def __init__(self, client: redis.Redis, prefixes: Sequence[str], *, is_cluster: bool) -> None:
        self._client = client
        self._expected = str(len(prefixes))
        self._has_tags = bool(prefixes[0])
        self._is_cluster = is_cluster

    def check(self, *, writes: bool = True) -> None:
        """Compare it with what this program is told.

        Args:
            writes: Whether it is recorded where nothing is yet. One Redis with a single partition needs no record.

        Raises:
            PartitionMismatch: They differ.
        """
        found = self._found()
        if found is None and writes and self._has_tags:
            self._client.set(RECORD, self._expected, nx=True)
            found = self._found()
        if found is not None and found != self._expected:
            raise PartitionMismatch(
                f"FEEDBACK_PARTITIONS is {self._expected}, and the queue was made with {found}: set "
                f"FEEDBACK_PARTITIONS={found}, or move the queue to another Redis with `aquilax-feedback move`"
            )

    def number(self) -> int | None:
        """Return how many partitions are recorded; None if nothing is, or it is no number."""
        found = self._client.get(RECORD)
        return int(found) if isinstance(found, bytes) and found.isdigit() else None

    def forget(self) -> None:
        """Delete it: the queue has gone, and another may be made with another number."""
        self._client.delete(RECORD)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _found(self) -> str | None:
        """What is recorded; a queue without tags, which has no record, shows by its counts."""
        found = self._client.get(RECORD)
        if isinstance(found, bytes):
            return found.decode(errors="replace")
        has_counts = self._has_tags and not self._is_cluster and self._client.exists(counts_of(QUEUE))
        return _SINGLE if has_counts else None
