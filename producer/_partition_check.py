"""The number of partitions that a queue was made with: each new connection to one Redis looks whether it is ours.

In a cluster it is looked at with each new map of it (`producer.slot_map`). With another number an event would be laid,
and looked for, in a partition in which it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producer._resp import command, script, shown
from producer.message import QUEUE, counts_of
from producer.partitions import RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PartitionCheck"]

_SCRIPT: Final = script("partitions.lua")


class PartitionCheck:
    """What is recorded in Redis of a queue's partitions, beside what this producer is told.

    Args:
        prefixes: What stands before the keys of each partition, as this producer is told.
        is_cluster: Whether it is one; else it is one Redis, which may have a queue without partitions.

    Attributes:
        command: Asks for the recorded number in one step, and records ours if there is none. One Redis with a single
            partition needs no record.
    """

    def __init__(self, prefixes: Sequence[str], *, is_cluster: bool) -> None:
        self._expected = len(prefixes)
        self._has_tags = bool(prefixes[0])
        keys = [RECORD] if is_cluster or not self._has_tags else [RECORD, counts_of(QUEUE)]
        recorded = [b"%d" % self._expected] if self._has_tags else []
        self.command = command(b"EVAL", _SCRIPT, b"%d" % len(keys), *(key.encode() for key in keys), *recorded)

    def mismatch(self, reply: bytes) -> str | None:
        """Return what is wrong by the reply to the command, its line without the end, and the fix; None if nothing is.

        Raises:
            ConnectionError: Redis does not tell, and the queue has partitions.
        """
        if reply in {b":%d" % self._expected, b":0"}:
            return None
        if reply[:1] == b":":
            found = shown(reply)
            return (
                f"the queue was made with {found} partitions, and this producer is told {self._expected}: set "
                f"FEEDBACK_PARTITIONS={found} (the argument partitions={found}), as it never changes"
            )
        if self._has_tags:
            raise ConnectionError(f"the number of partitions can't be compared: {_advised(reply)}")
        return None  # where it is refused, so is the event, which says it better


def _advised(reply: bytes) -> str:
    text = shown(reply) if reply[:1] == b"-" else "what answered does not answer as Redis does"
    lacks_right = "NOPERM" in text or "permission" in text or "can't run this command" in text
    return text + (
        "; give the producer's login +eval +get +set +exists, and ~feedback:partitions" if lacks_right else ""
    )
