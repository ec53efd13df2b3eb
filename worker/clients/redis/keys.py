"""The names of our keys in Redis (see docs/wire-format.md), and of the counts; see `worker.broker.keys` for Kombu's."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from producer.message import QUEUE, counts_of

__all__ = [
    "CLAIM", "COUNTS", "DEDUP", "HOLD", "IDEMPOTENCY", "MOVED", "MOVING", "MOVING_COUNTS", "PRUNED", "RECORDED",
    "REPLAY", "REPLAYS_WATCHED", "REVOKED", "TOLD", "CountField",
]  # fmt: skip

COUNTS: Final = counts_of(QUEUE)
HOLD: Final = f"{QUEUE}:hold"
DEDUP: Final = f"{QUEUE}:dedup"  # and before its buckets, see worker/delivery/lua/dedup.lua
IDEMPOTENCY: Final = f"{QUEUE}:idempotency:"  # before a client of the gateway and the hash of its Idempotency-Key
CLAIM: Final = f"{QUEUE}:claim:"  # before a request_id
REVOKED: Final = f"{QUEUE}:revoked"
REPLAY: Final = f"{QUEUE}:replay:"  # before a replay's name
REPLAYS_WATCHED: Final = f"{QUEUE}:replays:watched"
PRUNED: Final = f"{QUEUE}:pruned"
RECORDED: Final = f"{QUEUE}:recorded"
TOLD: Final = f"{QUEUE}:told"
MOVING: Final = f"{QUEUE}:moving"
MOVING_COUNTS: Final = f"{MOVING}:counts"
MOVED: Final = f"{QUEUE}:moved"


class CountField(StrEnum):
    """The counts of events and messages in `COUNTS`."""

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
