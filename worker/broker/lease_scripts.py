"""The scripts of one lease, with its keys: end, return and schedule messages, and renew the lease."""

from __future__ import annotations

import json
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

import redis

from worker.broker.keys import DELAYED
from worker.broker.scripts import ACK, HEARTBEAT, REQUEUE, SCHEDULE

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
        self._lists = [keys.prefix, keys.sep, keys.steps_text]
        self._counts = json.dumps({queue: keys.counts_of(queue) for queue in keys.counts})
        self.held_key = keys.held_prefix + name
        self._in_flight = [keys.unacked, keys.index, self.held_key]

    def end(self, labels: Mapping[str, str]) -> None:
        """End messages, and count how: ``labels`` has what to count for each delivery tag."""
        if labels:
            parts = [part for pair in labels.items() for part in pair]
            ACK(self._client, self._in_flight, [self._counts, *self._lists, *parts])

    def schedule(self, dues: Mapping[str, str]) -> None:
        """Let messages wait: ``dues`` has the time for each delivery tag, as `lua/schedule.lua` takes it."""
        if dues:
            parts = [part for pair in dues.items() for part in pair]
            SCHEDULE(self._client, self._in_flight, [*self._lists, DELAYED, *parts])

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
        what = [end, "0" if keep is None else "1", len(tags), *pushed, *(keep or ())]
        keys = [self._keys.unacked, self._keys.index, self._keys.leases, self.held_key]
        return int(REQUEUE(self._client, keys, [self._name, *self._lists, *what]))

    def heartbeat(self) -> tuple[bool, int, list[str]]:
        """Renew the lease, and return the messages of leases that ended.

        Returns:
            Whether the lease had not ended, how many messages of others went back, and the names of their leases.
        """
        keys = [*self._in_flight[:2], self._keys.leases, self.held_key, self._keys.pulse]
        lived, returned, dead = HEARTBEAT(
            self._client, keys, [self._name, self._lease_ms, *self._lists, self._keys.held_prefix]
        )
        return bool(lived), returned, [name.decode() if isinstance(name, bytes) else str(name) for name in dead]
