"""The names of our keys in Redis (see docs/wire-format.md), and of the counts; see `worker.broker.keys` for Kombu's.

Every key of one queue begins with the same prefix, which is that of the client by which it is reached.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING

from producer.message import QUEUE, counts_of

if TYPE_CHECKING:
    import redis

__all__ = ["CountField", "FeedbackKeys", "feedback_keys", "prefix_of", "tag_of", "with_prefix"]


class FeedbackKeys:
    """The whole names of our keys behind one prefix.

    Args:
        prefix: What stands before each of them, and before Kombu's; '' for nothing.

    Attributes:
        prefix: As it was given.
        counts: The hash of the counts (`CountField`).
        hold: The hash of the hold (`worker/delivery/lua/begin_hold.lua`).
        holds: The hash of the holds of single orgs and keys (`worker/delivery/lua/begin_org_hold.lua`).
        holds_watched: Is there while no worker has to give back what was set aside.
        hold_mirrored: Is there while no worker has to mirror the hold into the other partitions.
        dedup: The number of buckets of remembered votes, and what stands before each bucket
            (`worker/delivery/lua/dedup.lua`).
        idempotency: Stands before a client of the gateway and the hash of its Idempotency-Key.
        claim: Stands before a request_id.
        revoked: The sorted set of revocations.
        replay: Stands before a replay's name.
        replays_watched: Is there while a worker looks after replays.
        pruned: Is there while no worker has to prune.
        recorded: Is there while no worker has to write Redis' totals down.
        history: The hash with since when there is a history, and the last sample of the queue.
        history_minutes, history_quarters, history_hours: Stand before the number of a bucket of the history.
        history_of: The same by the name of the resolution.
        history_written: Stands before the name of what writes the history: how much of what it counted is in it.
        history_sampled: Is there while no worker has to sample the queue for the history.
        told: What a reconciliation has named.
        notifier: What is known of notifications: what was told, and what is to be told (`worker.notifications.state`).
        notifier_lease: Is there while one worker notifies, or none has to.
        moving: The parcel on its way to another Redis.
        moving_counts: The counts on their way.
        moved: The parcels that have arrived.
    """

    def __init__(self, prefix: str = "") -> None:
        queue = prefix + QUEUE
        self.prefix = prefix
        self.counts = prefix + counts_of(QUEUE)
        self.hold = f"{queue}:hold"
        self.holds = f"{queue}:holds"
        self.holds_watched = f"{self.holds}:watched"
        self.hold_mirrored = f"{self.hold}:mirrored"
        self.dedup = f"{queue}:dedup"
        self.idempotency = f"{queue}:idempotency:"
        self.claim = f"{queue}:claim:"
        self.revoked = f"{queue}:revoked"
        self.replay = f"{queue}:replay:"
        self.replays_watched = f"{queue}:replays:watched"
        self.pruned = f"{queue}:pruned"
        self.recorded = f"{queue}:recorded"
        self.history = f"{queue}:history"
        self.history_minutes = f"{self.history}:minute:"
        self.history_quarters = f"{self.history}:quarter:"
        self.history_hours = f"{self.history}:hour:"
        self.history_of = {
            "minute": self.history_minutes,
            "quarter": self.history_quarters,
            "hour": self.history_hours,
        }
        self.history_written = f"{self.history}:written:"
        self.history_sampled = f"{self.history}:sampled"
        self.told = f"{queue}:told"
        self.notifier = f"{queue}:notifier"
        self.notifier_lease = f"{self.notifier}:lease"
        self.moving = f"{queue}:moving"
        self.moving_counts = f"{self.moving}:counts"
        self.moved = f"{queue}:moved"


def prefix_of(client: object) -> str:
    """Return what stands before every key that a client reaches; '' for a client that says nothing of it."""
    return str(getattr(client, "key_prefix", ""))


def tag_of(key: str) -> str:
    """Return the hash tag with which a partition's key begins; '' if it has none."""
    return key[: key.find("}") + 1]


def with_prefix(client: redis.Redis, prefix: str) -> redis.Redis:
    """Let a client, which is given whole names, say what stands before every key of the queue; return the client."""
    client.key_prefix = prefix  # type: ignore[attr-defined]  # `prefix_of` reads it
    return client


def feedback_keys(client: object) -> FeedbackKeys:
    """Return the names of our keys as a client reaches them."""
    return _behind(prefix_of(client))


@cache
def _behind(prefix: str) -> FeedbackKeys:
    return FeedbackKeys(prefix)


class CountField(StrEnum):
    """The counts of events and messages in `FeedbackKeys.counts`."""

    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    DEAD = "dead"
    REVOKED = "revoked"
    PURGED = "purged"
    WRITTEN_OFF = "written_off"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    DEAD_LETTERS_INSERTED = "dead_letters_inserted"
