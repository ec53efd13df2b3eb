"""What the dedup store remembers of an answer, for operators: it is looked at, and nothing is changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from worker.clients.redis.keys import feedback_keys
from worker.delivery.dedup_buckets import bucket_of
from worker.delivery.idempotency import digest_of

if TYPE_CHECKING:
    import redis

__all__ = ["Remembered", "remembered"]

_TRIES: Final = 3
_YEAR_ONE: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is remembered of one answer.

    Attributes:
        status: The feedback that AquilaX took last, True for a thumbs-up; None if none is remembered.
        occurred_at: When that was pressed.
        until: Until when it is remembered.
        unsure: Whether another one was sent since, of which it is not known whether AquilaX took it.
        sending_for: Until when a worker may be sending for this answer; None if none is.
    """

    status: bool | None = None
    occurred_at: datetime | None = None
    until: datetime | None = None
    unsure: bool = False
    sending_for: timedelta | None = None

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            "status": None if self.status is None else str(self.status).lower(),
            "occurred_at": self.occurred_at and self.occurred_at.isoformat(),
            "until": self.until and self.until.isoformat(),
            "unsure": self.unsure,
            "sending_for_seconds": None if self.sending_for is None else self.sending_for.total_seconds(),
        }


def remembered(client: redis.Redis, request_id: str, *, now: datetime) -> Remembered:
    """Return what is remembered of an answer.

    Args:
        client: That of the partition that the answer belongs to; it answers in bytes.
        request_id: The answer's.
        now: The time: what has expired by then is not remembered any more.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    keys = feedback_keys(client)
    left: Any = client.pttl(keys.claim + request_id)
    sending_for = timedelta(milliseconds=left) if left > 0 else None
    vote = _vote(client, keys.dedup, digest_of(request_id))
    # Of fixed width: see `lua/dedup.lua`.
    with suppress(ValueError, OverflowError):
        until = datetime.fromtimestamp(int(vote[17:28], 16) / 1000, UTC)
        if until > now:
            return Remembered(
                status=vote[:1] == b"t",
                occurred_at=_YEAR_ONE + timedelta(microseconds=int(vote[2:17], 16)),
                until=until,
                unsure=vote[1:2] == b"1",
                sending_for=sending_for,
            )
    return Remembered(sending_for=sending_for)


def _vote(client: redis.Redis, dedup: str, digest: bytes) -> bytes:
    """Return a vote as it is kept; b'' if there is none. If buckets are split between two looks it looks again."""
    count: Any = client.get(dedup)
    for _ in range(_TRIES):
        if not (count or b"").isdigit():
            return b""
        with client.pipeline(transaction=True) as pipeline:
            pipeline.get(dedup)
            pipeline.hget(f"{dedup}:{bucket_of(digest, int(count))}", digest)
            now, vote = pipeline.execute()
        if now == count:
            return vote or b""
        count = now
    return b""
