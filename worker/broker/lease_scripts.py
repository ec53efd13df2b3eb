"""The scripts of one lease, with its keys: end, return, schedule and reclaim messages, and renew the lease."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

import redis

from worker.broker.destinations import Destinations
from worker.broker.keys import DELAYED
from worker.broker.scripts import ACK, HEARTBEAT, RECLAIM, REQUEUE, SCHEDULE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.broker.keys import Keys

__all__ = ["LeaseScripts", "process_id"]

_PROCESS: Final = secrets.token_hex(4)
"""Tells two processes apart that have one id on one host's name, as in two containers."""


def process_id() -> str:
    """Return what stands first in the name of each lease of this process, and of no other."""
    return f"{socket.gethostname()}:{os.getpid()}:{_PROCESS}"


class LeaseScripts:
    """Runs the scripts of one lease.

    Args:
        pool: The connections.
        keys: The keys.
        name: The name of the lease.
        lease_ms: Its length, in ms.

    Every method raises `redis.RedisError` when Redis is unavailable.
    """

    def __init__(self, pool: redis.ConnectionPool, keys: Keys, *, name: str, lease_ms: int) -> None:
        credentials = pool.connection_kwargs.get("credential_provider")
        self._client = redis.Redis(connection_pool=pool, credential_provider=credentials)
        self._keys = keys
        self._name = name
        self._lease_ms = lease_ms
        self._destinations = Destinations(keys)
        self.held_key = keys.held_prefix + name
        self._in_flight = [keys.unacked, keys.index, self.held_key]
        lists = [name for queue in keys.counts for name in keys.lists(queue)]
        self._counted_keys = [*self._in_flight, *lists, *(keys.counts_of(queue) for queue in keys.counts)]
        self._counted = [keys.steps_text, len(keys.counts), *keys.counts]

    def end(self, labels: Mapping[str, str]) -> None:
        """End messages, and count how: ``labels`` has what to count for each delivery tag."""
        if labels:
            parts = [part for pair in labels.items() for part in pair]
            ACK(self._client, self._counted_keys, [*self._counted, *parts])

    def schedule(self, dues: Mapping[str, str]) -> None:
        """Let messages wait: ``dues`` has the time for each delivery tag, as `lua/schedule.lua` takes it."""
        if dues:
            parts = [part for pair in dues.items() for part in pair]
            self._destinations.run(SCHEDULE, self._client, self._in_flight, parts, suffix=DELAYED)

    def requeue(self, tags: Sequence[str], *, end: str, keep: Collection[str] | None = None) -> int:
        """Return messages to their queues, and return how many went back.

        Args:
            tags: Their delivery tags.
            end: The end of the queue: ``head`` or ``back``.
            keep: All that the lease holds from now on; None if it only loses ``tags``.
        """
        if not tags and keep is None:
            return 0
        pushed = reversed(tags) if end == "head" else tags
        what, named = [self._name, end, "0" if keep is None else "1"], [len(tags), *pushed, *(keep or ())]
        keys = [self._keys.unacked, self._keys.index, self._keys.leases, self.held_key]
        replies = self._destinations.run(REQUEUE, self._client, keys, named, before=what)
        return sum(returned for [returned] in replies)

    def heartbeat(self) -> tuple[bool, list[bytes]]:
        """Renew the lease; return whether it had not ended, and the names of the leases that have: see `reclaim`."""
        keys = [self._keys.index, self._keys.leases, self.held_key, self._keys.pulse]
        lived, dead = HEARTBEAT(self._client, keys, [self._name, self._lease_ms])
        return bool(lived), [name if isinstance(name, bytes) else name.encode() for name in dead]

    def reclaim(self, dead: Sequence[bytes]) -> tuple[int, list[str]]:
        """Return the messages of leases that ended.

        Args:
            dead: Their names.

        Returns:
            How many messages went back, and the names of the leases that hold nothing any more.
        """
        if not dead:
            return 0, []
        own = [self._keys.unacked, self._keys.index, self._keys.leases, self._keys.pulse]
        keys: list[str | bytes] = [*own, *(self._keys.held_prefix.encode() + name for name in dead)]
        replies = self._destinations.run(RECLAIM, self._client, keys, [], before=[self._lease_ms, len(dead), *dead])
        dropped = [name for _, names in replies for name in names]
        texts = [name.decode(errors="replace") if isinstance(name, bytes) else name for name in dropped]
        return sum(returned for returned, _ in replies), texts
