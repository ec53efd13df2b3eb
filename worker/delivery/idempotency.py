"""Idempotency, keyed on request_id: the last vote wins, and never two at once.

For each request_id Redis holds the last vote that AquilaX took (`dedup`, for the idempotency TTL) and, while a worker
is sending, a claim with that worker's token (`claim`, until the lease ends). Each step is one script, so it happens
whole or not at all; a repeat of the message that was already recorded changes nothing.

A message ends in the moment in which it leaves the worker's hand, and is counted in the same step: once, however often
it was delivered.

A vote that was sent and not recorded (no answer came, or the worker died) may have reached AquilaX all the same. From
its claim on the record is therefore marked `unsure`, and the vote that it holds counts as a duplicate no longer: cast
again later, it is sent again, so that AquilaX ends with the last vote whichever way the lost one went.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, cast

from worker.broker.keys import broker_keys
from worker.broker.lease_state import SharedLeaseState
from worker.clients.redis.batching import NodePipelines, ScriptBatcher
from worker.clients.redis.keys import CountField, feedback_keys
from worker.clients.redis.scripts import COUNT, TIME, Script, lua
from worker.delivery.dedup_buckets import DedupBuckets
from worker.delivery.hold import HoldKind

if TYPE_CHECKING:
    import redis

    from producer import FeedbackEvent

__all__ = ["Busy", "Claim", "Claimed", "IdempotencyStore", "OnHold", "Seen", "digest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """This worker, and no other, may send the event until the lease ends."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Another message of this request_id is being sent; its lease ends in ``remaining`` at the latest."""

    remaining: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OnHold:
    """Nothing is sent just now, for what ``comment`` says; not even a probe if it is an operator's."""

    comment: str
    by_hand: bool = False


class Seen(StrEnum):
    """Nothing to send: AquilaX has this vote, or a later one."""

    SETTLED = "settled"
    """This very message was delivered and recorded, and came again because it was not acknowledged."""
    DUPLICATE = "duplicate"
    STALE = "stale"


Claim = Claimed | Busy | OnHold | Seen

_CLAIMING: Final = Script(TIME + lua("worker.delivery", "dedup", "claim"))
_RECORDING: Final = Script(TIME + COUNT + lua("worker.delivery", "dedup", "end_message", "record"))
_RELEASING: Final = Script(COUNT + lua("worker.delivery", "release"))
_SETTLING: Final = Script(COUNT + lua("worker.delivery", "end_message", "finish"))
_DELIVERED: Final = Script(TIME + lua("worker.delivery", "dedup", "delivered"))
_MICROSECOND: Final = timedelta(microseconds=1)
_YEAR_ONE: Final = datetime.min.replace(tzinfo=UTC)


class IdempotencyStore:
    """The record in Redis of what was delivered and of who is delivering.

    Args:
        client: The connection; answers as bytes. It is closed with the ledger.
        ttl: How long a delivered vote is remembered.
        lease: How long a claim holds if its worker dies: longer than a request to AquilaX can take.
        shared: Told of each message that is finished here; None if this process consumes none.
        nodes: What the partitions share; None if there is one.

    Every method raises `redis.RedisError` when Redis is unavailable.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        ttl: timedelta,
        lease: timedelta,
        shared: SharedLeaseState | None = None,
        nodes: NodePipelines | None = None,
    ) -> None:
        self._client = client
        self._keys = feedback_keys(client)
        in_flight = broker_keys(client)
        self._unacked = [in_flight.unacked, in_flight.index]
        self._shared = shared or SharedLeaseState()
        self._scripts = ScriptBatcher(client, nodes=nodes)
        self._shared.watch(self._keys.prefix, self._scripts)
        self._ttl = _milliseconds(ttl)
        self._buckets = DedupBuckets(self._scripts, name=self._keys.dedup, ttl_ms=self._ttl)
        self._lease = _milliseconds(lease)

    def close(self) -> None:
        """Close the connections."""
        self._buckets.close()
        self._scripts.close()
        self._client.close()

    @property
    def client(self) -> redis.Redis:
        """The connection; it is the ledger's to close."""
        return self._client

    @property
    def scripts(self) -> ScriptBatcher:
        """What runs scripts over that connection, those of many tasks together."""
        return self._scripts

    def scripts_at(self, held_in: str) -> ScriptBatcher:  # noqa: ARG002 - there are other stores with several
        """Return what runs scripts where a message lies, by the key of the set of what its holder holds."""
        return self._scripts

    def claim(self, event: FeedbackEvent, *, message_id: str, probe: bool = False) -> Claim:
        """Ask to send an event.

        Args:
            event: The event.
            message_id: Tells a redelivery of one message from a second message with the same vote.
            probe: Whether it is sent to see whether a hold can end.

        Returns:
            The claim; or why there is nothing to send now: AquilaX has it, another message is being sent, or a hold.
        """
        token = f"{random.getrandbits(128):032x}"
        asked: list[Any] = [*_vote(event, message_id), self._ttl, message_id, token, self._lease, int(probe)]
        match self._buckets.run(_CLAIMING, asked[0], [self._keys.claim + event.request_id, self._keys.hold], asked):
            case [b"claimed", *_]:
                return Claimed(token=token)
            case [b"held", comment, kind]:
                return OnHold(comment=comment.decode(errors="replace"), by_hand=kind == HoldKind.OPERATOR.encode())
            case [b"busy", remaining]:
                return Busy(remaining=timedelta(milliseconds=max(remaining, 0)))
            case [seen, *_]:
                return Seen(seen.decode())
            case answer:
                raise TypeError(f"claim.lua answered {answer!r}")

    def record(
        self, event: FeedbackEvent, claimed: Claimed, *, message_id: str, delivery_tag: str = "", held_in: str = ""
    ) -> None:
        """Record that AquilaX took the event, and give the claim back.

        It was sent, so it is recorded even if the lease has ended; a later vote stays.

        Args:
            event: The event.
            claimed: The claim.
            message_id: See `claim`.
            delivery_tag: The message that ends with it; '' if it does not end yet.
            held_in: The key of the set of what its holder holds; '' if that is not known.
        """
        took: list[Any] = [*_vote(event, message_id), self._ttl, message_id, claimed.token, delivery_tag]
        keys = [self._keys.claim + event.request_id, *self._unacked, held_in or self._unacked[0], self._keys.counts]
        ended, buckets, crowded = self._buckets.run(_RECORDING, took[0], keys, took)
        if ended and held_in:
            self._shared.add_settled(delivery_tag)
        self._buckets.hear(buckets, crowded=bool(crowded))

    def finish(self, delivery_tag: str, *counts: str, held_in: str = "") -> bool:
        """End a message, and count how.

        Args:
            delivery_tag: The message.
            counts: What to count.
            held_in: See `record`.

        Returns:
            Whether it was in flight. If not, its lease has ended, and it is counted where it comes to its end again.
        """
        keys = [*self._unacked, held_in or self._unacked[0], self._keys.counts]
        ended = bool(_SETTLING(self._scripts, keys, [delivery_tag, *counts]))
        if ended and held_in:
            self._shared.add_settled(delivery_tag)
        return ended

    def release(
        self, event: FeedbackEvent, claimed: Claimed, *, message_id: str, count: CountField | None = None
    ) -> None:
        """Give the claim back without a vote delivered, and count why if ``count`` says so."""
        keys = [self._keys.claim + event.request_id, self._keys.counts]
        _RELEASING(self._scripts, keys, [message_id, claimed.token, count or ""])

    def has_delivered(self, event: FeedbackEvent, *, message_id: str) -> bool:
        """Return whether the last vote that AquilaX took for this request_id is of this very message."""
        asked: list[Any] = [digest_of(event.request_id), digest_of(message_id, 8)]
        return bool(self._buckets.run(_DELIVERED, asked[0], [], asked)[0])

    def counts(self) -> dict[CountField, int]:
        """Return how many events there have been of each kind."""
        found = cast("dict[bytes, bytes]", self._client.hgetall(self._keys.counts))
        return {count: int(found.get(count.encode(), 0)) for count in CountField}


def _vote(event: FeedbackEvent, message_id: str) -> list[str | bytes]:
    """Request, status, time and message, each of fixed width, as `lua/dedup.lua` keeps them.

    Times compare as text: microseconds since year one, in 15 hex digits. Of a million million request_ids no two have
    the same 16 bytes; 8 are enough to tell the messages of one request_id apart.
    """
    return [
        digest_of(event.request_id),
        event.status_text[0],
        f"{(event.occurred_at - _YEAR_ONE) // _MICROSECOND:015x}",
        digest_of(message_id, 8),
    ]


@lru_cache(maxsize=2048)  # a claim's are those of its record, some milliseconds later
def digest_of(text: str, size: int = 16) -> bytes:
    """Return the digest of a request_id under which its votes are remembered; or of a message_id, with its own size."""
    return blake2b(text.encode(), digest_size=size).digest()


def _milliseconds(duration: timedelta) -> int:
    return max(1, duration // timedelta(milliseconds=1))
