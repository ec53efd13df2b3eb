"""The buckets of the dedup store: the client says in which one a vote is, and declares its key.

A script may touch declared keys only: a cluster that moves a slot writes any other a second time, and one of the two is
lost. So each client keeps the number of buckets that it was last told, and finds a digest's bucket by it. A script that
finds another bucket does nothing and tells the number, and is asked again. Most digests stay where they are when two
buckets are split, so that is rare.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.clients.redis.scripts import TIME, Script, lua
from worker.concurrency.batcher import Batcher
from worker.concurrency.scheduler import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.clients.redis.pipelining import Reply
    from worker.clients.redis.scripts import RunsScripts

__all__ = ["DedupBuckets", "bucket_of"]

_DEDUP: Final = TIME + lua("worker.delivery", "dedup")
_SPLIT: Final = Script(_DEDUP + lua("worker.delivery", "split_buckets"))
_COUNT: Final = Script(_DEDUP + lua("worker.delivery", "count_buckets"))
_COPY: Final = Script(_DEDUP + lua("worker.delivery", "copy_dedup"))

_TRIES: Final = 5
"""How often a script is asked. Each time but the first, the bucket was split within the round trip before."""

_SPLITS: Final = 2
"""Buckets that are split together: see `lua/split_buckets.lua`."""

_COUNTED_FIRST: Final = 65
_COUNTED_AT_ONCE: Final = 4096
"""Buckets that one script looks for at first, which is all where none is there, and at most: Redis serves no other
client meanwhile, some 2 ms."""

_CALLS: Final = 10_000
"""Tasks that wait for one count; more than any process runs."""


class DedupBuckets:
    """The buckets of one dedup store, as one process knows them; safe for many threads.

    Args:
        scripts: Runs scripts in its Redis.
        name: The key of their number, which stands before the names of the buckets.
        ttl_ms: How long a vote is remembered.

    Every method but `key_of` and `hear` raises `redis.RedisError` when Redis is unavailable, or refuses.
    """

    def __init__(self, scripts: RunsScripts, *, name: str, ttl_ms: int) -> None:
        self._scripts = scripts
        self._ttl_ms = ttl_ms
        self._name = name
        self._count = 1
        self._splitting = 0
        """The number of buckets from which this process is having two split; it asks for that once."""
        self._counting: Batcher[None, int] = Batcher(self._count_for, name="dedup buckets", limit=_CALLS)

    def close(self) -> None:
        """End the thread that counts, if it was needed."""
        self._counting.close()

    def key_of(self, digest: bytes) -> str:
        """Return the key of a digest's bucket, as far as is known."""
        return f"{self._name}:{bucket_of(digest, self._count)}"

    def run(self, script: Script, digest: bytes, keys: Sequence[str], arguments: Sequence[Any]) -> Reply:
        """Run a script on the bucket of a digest, and return what it returns.

        Args:
            script: One whose first keys are the number of buckets and the bucket, and that answers as
                `lua/dedup.lua` has it if it is another bucket; then it has done nothing, so it is asked again.
            digest: The digest.
            keys: Its other keys.
            arguments: Its arguments.
        """
        reply = script(self._scripts, (self._name, self.key_of(digest), *keys), arguments)
        tries = 1
        while reply[0] == b"buckets":
            if tries == _TRIES:
                raise _too_often()
            self._learn(reply[1])
            reply = script(self._scripts, (self._name, self.key_of(digest), *keys), arguments)
            tries += 1
        return reply

    def hear(self, count: int, *, crowded: bool) -> None:
        """Take over what a script has told; raises nothing.

        Args:
            count: How many buckets there are.
            crowded: Whether two are to be split: that is done now. Where Redis refuses, a later vote says so again.
        """
        self._count = count
        if crowded and count != self._splitting:
            self._split(count)

    def _split(self, count: int) -> None:
        """Have two buckets split, if there are ``count`` still."""
        self._splitting = count
        keys = [self._name]
        for new in range(count, count + _SPLITS):
            keys += [f"{self._name}:{new - (1 << (new.bit_length() - 1))}", f"{self._name}:{new}"]
        try:
            with suppress(redis.RedisError):
                if now := _SPLIT(self._scripts, keys, [count]):
                    self._count = now
        finally:
            self._splitting = 0

    def copy(self, votes: Sequence[tuple[bytes, bytes]]) -> int:
        """Remember votes of another Redis, and return how many were not remembered, or an earlier one.

        Args:
            votes: A digest and its vote each, as they were there.
        """
        copied = 0
        for _ in range(_TRIES):
            keys = [self._name, *(self.key_of(digest) for digest, _ in votes)]
            new, count, crowded, left_out = _COPY(self._scripts, keys, [part for vote in votes for part in vote])
            copied += int(new)
            self._learn(count)
            if crowded:
                self.hear(count, crowded=True)
            if not left_out:
                return copied
            votes = [votes[number - 1] for number in left_out]
        raise _too_often()

    def _learn(self, count: int) -> None:
        """Take over how many buckets there are; 0 is that it has to be counted, once for all that wait for it."""
        # In a thread of its own a task keeps its place in the limit on deliveries: it goes on to AquilaX after that.
        self._count = count or run_in_thread(self._counting.call, None)

    def _count_for(self, calls: Sequence[None]) -> list[int]:
        first, last, at_once = 0, -1, _COUNTED_FIRST
        while True:
            keys = [self._name, *(f"{self._name}:{number}" for number in range(first, first + at_once))]
            reply: list[int] = _COUNT(self._scripts, keys, [first, last, self._ttl_ms])
            count, last = reply
            if count:
                return [count] * len(calls)
            first, at_once = first + at_once, min(at_once * 2, _COUNTED_AT_ONCE)


def bucket_of(digest: bytes, count: int) -> int:
    """Return the number of a digest's bucket where there are ``count``: linear hashing, as in `lua/dedup.lua`."""
    above = 1 << count.bit_length()  # the least power of two above it
    bucket = int.from_bytes(digest[:4], "big") & (above - 1)
    return bucket if bucket < count else bucket & ((above >> 1) - 1)


def _too_often() -> redis.RedisError:
    return redis.exceptions.TryAgainError("the buckets of the dedup store were split each time that one was asked for")
