"""Partitions: the parts of a queue, each under a hash tag of its own, so that each can lie on another node.

An event's request_id chooses its partition, so that all votes on one answer meet in one place. Everything that belongs
to a partition - waiting messages, those in flight, counts, remembered votes - lies in one slot of a cluster
(https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).
"""

from __future__ import annotations

from binascii import crc_hqx
from functools import cache
from hashlib import blake2b
from itertools import count as numbers
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MOST_PARTITIONS",
    "ON_A_CLUSTER",
    "RECORD",
    "partition_of",
    "partition_of_digest",
    "partitions_of",
    "slot_of",
    "tags",
]

MOST_PARTITIONS: Final = 256
"""A worker has a connection for each."""

ON_A_CLUSTER: Final = 16
"""Partitions of a cluster, if nothing else is said: they divide evenly among up to 8 primaries."""

RECORD: Final = "feedback:partitions"
"""The key of their number. It is the only one under no tag: it has to be found before their number is known."""

_OF_ONE_BYTE: Final = frozenset({1, 2, 4, 8, 16, 32, 64, 128, 256})
"""Numbers of partitions by which 256 can be divided: only the last of the digest's four bytes matters."""

_SLOTS: Final = 16_384


def partition_of(request_id: str, count: int) -> int:
    """Return the number of the partition, from 0, that an event belongs to.

    It is taken from the digest by which votes are remembered (BLAKE2b with 16 bytes), so that these can be moved to
    another number of partitions too.

    Args:
        request_id: The event's, as it stands in its message.
        count: How many partitions there are.
    """
    return 0 if count == 1 else partition_of_digest(blake2b(request_id.encode(), digest_size=16).digest(), count)


def partition_of_digest(digest: bytes, count: int) -> int:
    """Return the number of the partition of a request_id with this digest; as `partition_of`.

    Its bytes 4 to 8 are taken as an unsigned number, the highest byte first, modulo ``count``.
    """
    return int.from_bytes(digest[4:8], "big") % count


def partitions_of(request_ids: Iterable[str], count: int) -> list[int]:
    """Return the numbers of the partitions that events belong to; as `partition_of`, in less time."""
    if count in _OF_ONE_BYTE:
        return [blake2b(each.encode(), digest_size=16).digest()[7] % count for each in request_ids]
    return [partition_of(each, count) for each in request_ids]


@cache
def tags(count: int) -> tuple[str, ...]:
    """Return what stands before the keys of each of ``count`` partitions in a cluster.

    Of a key only what is between the braces chooses the slot. The number behind the dot is the smallest with which
    partition number N lies in the Nth of ``count`` equal ranges of slots: counted tags alone would leave some of the
    nodes without any.
    """
    return tuple(_tag(number, count) for number in range(count))


def _tag(number: int, count: int) -> str:
    for salt in numbers():
        name = f"feedback:{number:02d}.{salt}"
        if slot_of(name) * count // _SLOTS == number:
            return f"{{{name}}}"
    raise AssertionError  # `numbers` has no end


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key: CRC16 (XMODEM) of what is between its first braces, or of all of it, modulo 16,384.

    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    raw = key.encode() if isinstance(key, str) else key
    _, brace, behind = raw.partition(b"{")
    tag, end, _ = behind.partition(b"}")
    return crc_hqx(tag if brace and end and tag else raw, 0) % _SLOTS
