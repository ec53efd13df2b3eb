"""Idempotency, keyed on request_id: the last word wins, and never two at once.

For each request_id Redis holds the last word that AquilaX took (`words`, for the idempotency TTL) and, while a worker
is sending, a claim with that worker's token (`claim`, until the lease ends). Each step is one script, so it happens
whole or not at all; a repeat of the message that was already recorded changes nothing.

A message ends in the moment in which it leaves the worker's hand, and is counted in the same step: once, however often
it was delivered.

A word that was sent and not recorded (no answer came, or the worker died) may have reached AquilaX all the same. From
its claim on the record is therefore marked `unsure`, and the word that it holds counts as a duplicate no longer: said
again later, it is sent again, so that AquilaX ends with the last word whichever way the lost one went.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Self, cast

from producer.message import QUEUE, counts_of
from worker.broker.lease_state import SharedLeaseState
from worker.clients.redis.batching import ScriptBatcher
from worker.clients.redis.connections import redis_client
from worker.clients.redis.scripts import COUNT, TIME, Script, lua
from worker.delivery.hold import HOLD, HoldKind

if TYPE_CHECKING:
    import redis

    from producer import FeedbackEvent

__all__ = ["Busy", "Claim", "Claimed", "CountField", "IdempotencyStore", "OnHold", "Seen"]


class CountField(StrEnum):
    """What the ledger counts, by event."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    DEAD = "dead"
    RETRIED = "retried"
    SNOOZED = "snoozed"


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
    """Nothing is sent just now, for this ``reason``; not even a probe if it is an operator's."""

    reason: str
    by_hand: bool = False


class Seen(StrEnum):
    """Nothing to send: AquilaX has this word, or a later one."""

    SETTLED = "settled"
    """This very message was delivered and recorded, and came again because it was not acknowledged."""
    DUPLICATE = "duplicate"
    STALE = "stale"


Claim = Claimed | Busy | OnHold | Seen

_WORDS: Final = "feedback:words"
"""And its buckets, `feedback:words:<bucket>` (`lua/words.lua`)."""
_CLAIM: Final = "feedback:claim:"
_COUNTS: Final = counts_of(QUEUE)
_UNACKED: Final = ["unacked", "unacked_index"]
"""The transport's keys (`worker.broker.keys`): what is in a worker's hand."""
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
        ttl: How long a delivered word is remembered.
        lease: How long a claim holds if its worker dies: longer than a request to AquilaX can take.
        shared: Told of each message that is finished here; None if this process consumes none.

    Every method raises `redis.RedisError` when Redis is away.
    """

    def __init__(
        self, client: redis.Redis, *, ttl: timedelta, lease: timedelta, shared: SharedLeaseState | None = None
    ) -> None:
        self._client = client
        self._shared = shared or SharedLeaseState()
        self._scripts = ScriptBatcher(client)
        self._ttl = _milliseconds(ttl)
        self._lease = _milliseconds(lease)

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        sentinel_master: str | None = None,
        ttl: timedelta,
        lease: timedelta,
        connections: int,
        shared: SharedLeaseState | None = None,
    ) -> Self:
        """Open the ledger in the broker's Redis.

        Args:
            url: The broker's URL.
            sentinel_master: The master's name, if the URL names its sentinels.
            ttl: As of the class.
            lease: As of the class.
            connections: At the most; as many as there are threads.
            shared: See the class.
        """
        client = redis_client(url, sentinel_master=sentinel_master, connections=connections)
        return cls(client, ttl=ttl, lease=lease, shared=shared)

    def close(self) -> None:
        """Close the connections."""
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

    def claim(self, event: FeedbackEvent, *, message_id: str, probe: bool = False) -> Claim:
        """Ask to send an event.

        Args:
            event: The event.
            message_id: Tells a redelivery of one message from a second message with the same word.
            probe: Whether it is sent to see whether a hold can end.

        Returns:
            The claim; or why there is nothing to send now: AquilaX has it, another message is being sent, or a hold.
        """
        token = f"{random.getrandbits(128):032x}"
        asked: list[Any] = [*_word(event, message_id), self._ttl, message_id, token, self._lease, int(probe)]
        match _CLAIMING(self._scripts, [*_keys(event), HOLD], asked):
            case [b"claimed", *_]:
                return Claimed(token=token)
            case [b"held", reason, kind]:
                return OnHold(reason=reason.decode(errors="replace"), by_hand=kind == HoldKind.OPERATOR.encode())
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

        It was sent, so it is recorded even if the lease has ended; a later word stays.

        Args:
            event: The event.
            claimed: The claim.
            message_id: As of `claim`.
            delivery_tag: The message that ends with it; '' if it does not end yet.
            held_in: The key of the set of what its holder holds; '' if that is not known.
        """
        took: list[Any] = [*_word(event, message_id), self._ttl, message_id, claimed.token, delivery_tag]
        if _RECORDING(self._scripts, [*_keys(event), *_UNACKED, held_in, _COUNTS], took) and held_in:
            self._shared.add_settled(delivery_tag)

    def finish(self, delivery_tag: str, *counts: str, held_in: str = "") -> bool:
        """End a message, and count how.

        Args:
            delivery_tag: The message.
            counts: What to count.
            held_in: As of `record`.

        Returns:
            Whether it was in hand. If not, its lease has ended, and it is counted where it comes to its end again.
        """
        ended = bool(_SETTLING(self._scripts, [*_UNACKED, held_in, _COUNTS], [delivery_tag, *counts]))
        if ended and held_in:
            self._shared.add_settled(delivery_tag)
        return ended

    def release(
        self, event: FeedbackEvent, claimed: Claimed, *, message_id: str, count: CountField | None = None
    ) -> None:
        """Give the claim back without a word delivered, and count why if ``count`` says so."""
        _RELEASING(self._scripts, [_CLAIM + event.request_id, _COUNTS], [message_id, claimed.token, count or ""])

    def has_delivered(self, event: FeedbackEvent, *, message_id: str) -> bool:
        """Return whether the last word that AquilaX took for this request_id is of this very message."""
        asked: list[Any] = [_digest(event.request_id, 16), _digest(message_id, 8)]
        return bool(_DELIVERED(self._scripts, [_WORDS], asked))

    def counts(self) -> dict[CountField, int]:
        """Return how many events there have been of each kind."""
        found = cast("dict[bytes, bytes]", self._client.hgetall(_COUNTS))
        return {count: int(found.get(count.encode(), 0)) for count in CountField}


def _keys(event: FeedbackEvent) -> list[str]:
    return [_WORDS, _CLAIM + event.request_id]


def _word(event: FeedbackEvent, message_id: str) -> list[str | bytes]:
    """Request, status, time and message, each of fixed width, as `lua/words.lua` keeps them.

    Times compare as text: microseconds since year one, in 15 hex digits. Of a million million request_ids no two have
    the same 16 bytes; 8 are enough to tell the messages of one request_id apart.
    """
    return [
        _digest(event.request_id, 16),
        event.status_text[0],
        f"{(event.occurred_at - _YEAR_ONE) // _MICROSECOND:015x}",
        _digest(message_id, 8),
    ]


def _digest(text: str, size: int) -> bytes:
    return blake2b(text.encode(), digest_size=size).digest()


def _milliseconds(duration: timedelta) -> int:
    return max(1, duration // timedelta(milliseconds=1))
