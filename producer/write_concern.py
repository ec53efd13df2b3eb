"""What must have an event, beside Redis' memory, before `enqueue` returns: replicas, and disks.

``WAIT`` and ``WAITAOF`` speak for the last write of the connection on which they are sent. So one of them goes right
behind each command, or behind each batch of commands, in the same write: one round trip, of which the wait for the
replicas is a part. Only a count that is high enough confirms what was written. A refusal (``-ERR``), an end of the
connection or a server that became a replica meanwhile (``-UNBLOCKED``) does not, and says nothing against the write.

Before its first event a connection must get a write confirmed that changes nothing: a server without replicas, with one
that hangs, or without the command, is sent no event. If nothing is written, Valkey answers at once, and Redis for what
others wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from producer._resp import command, refused, shown, writing_nothing
from producer.errors import EnqueueUncertain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.errors import ProducerError

__all__ = ["MOST_REPLICAS", "WriteConcern"]

MOST_REPLICAS: Final = 100
"""That may be waited for: more than any Redis has."""

_MARGIN: Final = 0.12
"""Seconds that Redis is not given of the time left. It looks 10 times a second at what has waited in vain: its answer
is late by up to 100 ms, and must come within the budget all the same."""

_WAIT_SAYS: Final = re.compile(rb":(\d+)")
_WAITAOF_SAYS: Final = re.compile(rb"\*2\n:(\d+)\n:(\d+)")
"""Replies, their lines joined: how many replicas have it; on how many disks it is, Redis' own and its replicas'."""

_COUNTS: Final = 3
"""Lines of the second of them."""

_NOT_REDIS: Final = "what answered does not answer as Redis does"

_FIXES: Final = {
    "unknown command": "use Redis 7.2 or newer, or Valkey, or leave fsync (FEEDBACK_ENQUEUE_FSYNC) off",
    "appendonly is disabled": "CONFIG SET appendonly yes, and `appendonly yes` in redis.conf, or leave fsync "
    "(FEEDBACK_ENQUEUE_FSYNC) off",
    "no permissions": "give the producer's login the right +wait, for fsync +waitaof (ACL SETUSER)",
    "replica": "the master has changed; enqueue it again",
}
"""What to do about a refusal, by words of it."""


@dataclass(frozen=True, slots=True)
class WriteConcern:
    """How many copies of an event there must be before it counts as taken. MongoDB's name for it.

    Attributes:
        replicas: Replicas that must have it.
        fsync: Whether it must be on Redis' disk, and on that of each of these replicas.
        queue: The queue of the events.
    """

    replicas: int
    fsync: bool
    queue: str

    @classmethod
    def of(cls, replicas: int, *, fsync: bool, queue: str) -> WriteConcern | None:
        """Return what is asked for of the events of a queue; None if Redis' own memory is enough.

        Raises:
            ValueError: ``replicas`` is no number of replicas.
        """
        if type(replicas) is not int or not 0 <= replicas <= MOST_REPLICAS:
            raise ValueError(f"replicas is {replicas!r}: expected a whole number from 0 to {MOST_REPLICAS}")
        return cls(replicas, fsync, queue) if replicas or fsync else None

    def probe(self, prefix: str) -> bytes:
        """Return a command that writes, and changes nothing: it is confirmed as an event would be.

        ``prefix`` stands before its key.
        """
        return writing_nothing(self.queue, prefix=prefix)

    def wait(self, seconds: float) -> bytes:
        """Return the command that waits for the copies, and answers in less than so many seconds."""
        within = seconds - _MARGIN if seconds > 2 * _MARGIN else seconds / 2
        return _wait(self.replicas, max(1, int(within * 1000)), is_for_disks=self.fsync)

    def is_whole(self, reply: Sequence[bytes]) -> bool:
        """Tell whether these lines are all of the reply to the command."""
        return bool(reply) and (not self.fsync or reply[0] != b"*2" or len(reply) >= _COUNTS)

    def shortfall(self, reply: Sequence[bytes]) -> str | None:
        """Return what is missing, and what to look at, by the lines of a whole reply; None if nothing is."""
        first = reply[0]
        if first == b":%d" % self.replicas and len(reply) == 1 and not self.fsync:
            return None  # as nearly always
        if first[:1] == b"-":
            return self._refusal(shown(first))
        found = (_WAITAOF_SAYS if self.fsync else _WAIT_SAYS).fullmatch(b"\n".join(reply))
        if found is None:
            return _NOT_REDIS
        *synced, copies = map(int, found.groups())
        return self._missing(is_synced=synced != [0], copies=copies)

    def _missing(self, *, is_synced: bool, copies: int) -> str | None:
        missing, look_at = [], []
        if not is_synced:
            missing.append("its disk did not confirm it in time")
            look_at.append("appendfsync (with everysec it takes a second and more)")
        if copies < self.replicas:
            of_disks = "the disks of " if self.fsync else ""
            missing.append(f"{of_disks}{copies} of {self.replicas} replicas confirmed it in time")
            look_at.append("the replicas in INFO replication" + (", and their appendonly" if self.fsync else ""))
        return f"{' and '.join(missing)}: look at {' and at '.join(look_at)}" if missing else None

    def _refusal(self, text: str) -> str:
        fix = next((f"; {fix}" for words, fix in _FIXES.items() if words in text), "")
        asked = f"WAITAOF for its disk and {self.replicas}" if self.fsync else f"WAIT for {self.replicas}"
        return f"{asked} replicas is refused: {text}{fix}"

    def unconfirmed(self, shortfall: str) -> EnqueueUncertain:
        """Return the error for what Redis took, and did not confirm."""
        return EnqueueUncertain(f"Redis took it, but {shortfall}")

    def cut_off(self, reply: bytes | None, why: str) -> ProducerError:
        """Return the error for a command whose confirmation did not come.

        Args:
            reply: The command's own reply, if that came.
            why: What kept the confirmation from coming.
        """
        if reply is None:
            return EnqueueUncertain(f"no answer from Redis: {why}")
        if reply[:1] == b"-":
            return refused(reply)
        known = f"0 of {self.replicas} replicas are" if self.replicas else "its disk is not"
        return EnqueueUncertain(f"Redis took it, but did not confirm it ({known} known to have it): {why}")


@lru_cache(maxsize=1024)
def _wait(replicas: int, milliseconds: int, *, is_for_disks: bool) -> bytes:
    words = (b"WAITAOF", b"1") if is_for_disks else (b"WAIT",)
    return command(*words, b"%d" % replicas, b"%d" % milliseconds)
