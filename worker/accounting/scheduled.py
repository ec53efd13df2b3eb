"""Why messages wait for their time in Redis: counted among those that are due first, so that it costs little."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.broker.keys import DELAYED, broker_keys
from worker.clients.redis.scripts import Script, lua
from worker.policy.envelope import WaitReason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["Scheduled", "look_at_scheduled"]

_SCHEDULED: Final = Script(lua("worker.accounting", "scheduled"))

_LOOKED_AT: Final = 500
"""Messages of each priority of a partition: they take Redis less than a millisecond."""

_LABELS: Final = {
    WaitReason.RETRY: "to be tried again: AquilaX could not take them",
    WaitReason.REDIS: "because Redis failed",
    WaitReason.DATABASE: "because the dead-letter database failed",
    WaitReason.BUSY: "for another press on the same answer, which is being sent",
    WaitReason.HOLD: "because their org is held, or its key",
    WaitReason.LIMIT: "because their org has as many requests at once as it may",
    WaitReason.FAULT: "because of a fault of ours, which stands in the workers' log",
    "": "for the time that their client set",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """What waits for its time.

    Attributes:
        total: How many there are.
        looked_at: Of how many the reasons are known: those that are due first.
        reasons: How many of these wait for each reason; '' is one that no worker has scheduled.
    """

    total: int
    looked_at: int
    reasons: Mapping[str, int]

    @property
    def summary(self) -> str:
        """The reasons as text, the most frequent first; '' if nothing is scheduled."""
        if not self.reasons:
            return ""
        counts = sorted(self.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
        told = "; ".join(f"{number:,} {_LABELS.get(reason, reason)}" for reason, number in counts)
        return told if self.looked_at >= self.total else f"of the {self.looked_at:,} that are due first: {told}"

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        reasons = {reason or "client": number for reason, number in self.reasons.items()}
        return {"total": self.total, "looked_at": self.looked_at, "reasons": reasons}


def look_at_scheduled(partitions: Partitions, *, only: Collection[int] | None = None) -> Scheduled:
    """Look at what waits for its time.

    Args:
        partitions: Redis.
        only: The numbers of the partitions that are looked at; all of them if None.

    Raises:
        redis.RedisError: One is unavailable, or refuses.
    """
    reasons, total, looked_at = Counter[str](), 0, 0
    for found in partitions.ask_all(_scheduled, only=only):
        total, looked_at = total + found.total, looked_at + found.looked_at
        reasons.update(found.reasons)
    return Scheduled(total=total, looked_at=looked_at, reasons=dict(reasons))


def _scheduled(client: redis.Redis) -> Scheduled:
    keys = [name + DELAYED for name in broker_keys(client).lists(QUEUE)]
    total, looked_at, flat = _SCHEDULED(client, keys, [_LOOKED_AT])
    reasons = {reason.decode(errors="replace"): number for reason, number in zip(flat[::2], flat[1::2], strict=True)}
    return Scheduled(total=total, looked_at=looked_at, reasons=reasons)
