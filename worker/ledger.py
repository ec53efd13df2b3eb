"""Idempotency, keyed on request_id: the last word wins, and never two at once.

For each request_id Redis holds the last word that AquilaX took (`word`, for the idempotency TTL) and, while a worker
is sending, a claim with that worker's token (`claim`, until the lease ends). Each step is one script, so it happens
whole or not at all; a repeat of the message that was already recorded changes nothing.

A word that was sent and not recorded (no answer came, or the worker died) may have reached AquilaX all the same. From
its claim on the record is therefore marked `unsure`, and the word that it holds counts as a duplicate no longer: said
again later, it is sent again, so that AquilaX ends with the last word whichever way the lost one went.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Self, cast

from worker.redis_clients import redis_client

if TYPE_CHECKING:
    import redis

    from producer import FeedbackEvent

__all__ = ["Busy", "Claim", "Claimed", "Count", "Ledger", "Seen"]


class Count(StrEnum):
    """What the ledger counts, by event."""

    DELIVERED = "delivered"
    DUPLICATE = "duplicate"
    STALE = "stale"
    RETRIED = "retried"
    HELD = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """This worker, and no other, may send the event until the lease ends."""

    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Another message of this request_id is being sent; its lease ends in ``remaining`` at the latest."""

    remaining: timedelta


class Seen(StrEnum):
    """Nothing to send: AquilaX has this word, or a later one."""

    SETTLED = "settled"
    """This very message was delivered and recorded, and came again because it was not acknowledged."""
    DUPLICATE = "duplicate"
    STALE = "stale"


Claim = Claimed | Busy | Seen

_WORD: Final = "feedback:word:"
_CLAIM: Final = "feedback:claim:"
_COUNTS: Final = "feedback:counts"
_MICROSECOND: Final = timedelta(microseconds=1)
_YEAR_ONE: Final = datetime.min.replace(tzinfo=UTC)


class Ledger:
    """The record in Redis of what was delivered and of who is delivering.

    Args:
        client: The connection; answers as bytes. It is closed with the ledger.
        ttl: How long a delivered word is remembered.
        lease: How long a claim holds if its worker dies: longer than a request to AquilaX can take.

    Every method raises `redis.RedisError` when Redis is away.
    """

    def __init__(self, client: redis.Redis, *, ttl: timedelta, lease: timedelta) -> None:
        self._client = client
        self._ttl = _milliseconds(ttl)
        self._lease = _milliseconds(lease)
        self._claim = client.register_script(_script("claim"))
        self._record = client.register_script(_script("record"))
        self._release = client.register_script(_script("release"))

    @classmethod
    def connect(
        cls, url: str, *, sentinel_master: str | None = None, ttl: timedelta, lease: timedelta, connections: int
    ) -> Self:
        """Open the ledger in the broker's Redis.

        Args:
            url: The broker's URL.
            sentinel_master: The master's name, if the URL names its sentinels.
            ttl: As of the class.
            lease: As of the class.
            connections: At the most; as many as there are threads.
        """
        client = redis_client(url, sentinel_master=sentinel_master, connections=connections)
        return cls(client, ttl=ttl, lease=lease)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def claim(self, event: FeedbackEvent, *, message_id: str) -> Claim:
        """Ask to send an event.

        Args:
            event: The event.
            message_id: Tells a redelivery of one message from a second message with the same word.

        Returns:
            The claim, or why there is nothing to send (which is counted), or that it is another's turn.
        """
        token = uuid.uuid4().hex
        answer, remaining = cast(
            "tuple[bytes, int]",
            self._claim(keys=_keys(event), args=[*_word(event, message_id), token, self._lease, self._ttl]),
        )
        match answer:
            case b"claimed":
                return Claimed(token=token)
            case b"busy":
                return Busy(remaining=timedelta(milliseconds=max(remaining, 0)))
            case _:
                return Seen(answer.decode())

    def record(self, event: FeedbackEvent, claimed: Claimed, *, message_id: str) -> None:
        """Record that AquilaX took the event, count it, and give the claim back.

        It was sent, so it is recorded even if the lease has ended; a later word stays.
        """
        self._record(keys=_keys(event), args=[*_word(event, message_id), claimed.token, self._ttl])

    def release(self, event: FeedbackEvent, claimed: Claimed, *, count: Count | None = None) -> None:
        """Give the claim back without a word delivered, and count why if ``count`` says so."""
        self._release(keys=_keys(event), args=[claimed.token, count or ""])

    def counts(self) -> dict[Count, int]:
        """Return how many events there have been of each kind."""
        found = cast("dict[bytes, bytes]", self._client.hgetall(_COUNTS))
        return {count: int(found.get(count.encode(), 0)) for count in Count}


def _keys(event: FeedbackEvent) -> list[str]:
    return [_WORD + event.request_id, _CLAIM + event.request_id, _COUNTS]


def _word(event: FeedbackEvent, message_id: str) -> list[str]:
    """Status, time and message. Times compare as text: microseconds since year one, in 20 digits."""
    return [event.status_text, f"{(event.occurred_at - _YEAR_ONE) // _MICROSECOND:020d}", message_id]


def _milliseconds(duration: timedelta) -> int:
    return max(1, duration // timedelta(milliseconds=1))


def _script(name: str) -> str:
    return files("worker").joinpath("lua", f"{name}.lua").read_text("utf-8")
