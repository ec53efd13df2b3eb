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

__all__ = ["MOST_PARTITIONS", "ON_A_CLUSTER", "RECORD", "partition_of", "partitions_of", "slot_of", "tags"]

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

    It is taken from the digest by which votes are remembered (bytes 4 to 8 of BLAKE2b with 16 bytes, as an unsigned
    number, the highest byte first, modulo ``count``), so that these can be moved to another number of partitions too.

    Args:
        request_id: The event's, as it stands in its message.
        count: How many partitions there are.
    """
    if count == 1:
        return 0
    return int.from_bytes(blake2b(request_id.encode(), digest_size=16).digest()[4:8], "big") % count


def partitions_of(request_ids: Iterable[str], count: int) -> list[int]:
    """Return the numbers of the partitions that events belong to; as `partition_of`, in less time."""
    if count in _OF_ONE_BYTE:
        return [blake2b(each.encode(), digest_size=16).digest()[7] % count for each in request_ids]
    number = int.from_bytes
    return [number(blake2b(each.encode(), digest_size=16).digest()[4:8], "big") % count for each in request_ids]


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


def slot_of(name: str) -> int:
    """Return the slot of what is between a key's braces, or of a key without: CRC16 (XMODEM) modulo 16,384."""
    return crc_hqx(name.encode(), 0) % _SLOTS
