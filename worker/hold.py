"""The hold: while it stands in Redis nothing is handed out from the queue, but for a probe now and then.

It is for all workers: whoever finds out that our key is wrong, or that AquilaX is down, writes it down, and the script
that hands messages over (`worker/broker/lua/fetch.lua`) looks at it first. What waits stays in the queue.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self, cast

from producer.message import QUEUE
from worker.policy.breaker import Breaker
from worker.scripts import script

if TYPE_CHECKING:
    import redis

    from worker.policy.verdict import Verdict

__all__ = ["HOLD", "Hold", "HoldKind", "HoldState"]

log = logging.getLogger(__name__)

HOLD: Final = f"{QUEUE}:hold"
"""The key."""

_FIRST: Final = timedelta(seconds=1)
_LONGEST: Final = timedelta(minutes=1)
"""The time until the first probe, which doubles with each that fails, and the longest."""


class HoldKind(StrEnum):
    """Why nothing is handed out."""

    LOCKED_OUT = "locked_out"
    """AquilaX does not take our key, or is elsewhere."""
    BREAKER = "breaker"
    """AquilaX has been unable to take anything for a while."""
    OPERATOR = "operator"
    """Somebody said so. There are no probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """A hold.

    Attributes:
        kind: What kind of reason there is.
        reason: The reason, in words.
        since: Since when.
        by: Who found out, or who said so.
        probes: Events that were sent to see whether it can end.
        probe_at: When the next may be sent; None if there are none.
    """

    kind: HoldKind
    reason: str
    since: datetime
    by: str
    probes: int
    probe_at: datetime | None

    @classmethod
    def read(cls, fields: dict[bytes, bytes]) -> Self | None:
        """Read what stands in Redis; None if there is no hold."""
        if b"kind" not in fields:
            return None
        probe_at = fields.get(b"probe_at")
        return cls(
            kind=HoldKind(fields[b"kind"].decode()),
            reason=fields.get(b"reason", b"").decode(errors="replace"),
            since=_moment(fields.get(b"since", b"0")),
            by=fields.get(b"by", b"").decode(errors="replace"),
            probes=int(fields.get(b"probes", 0)),
            probe_at=None if probe_at is None else _moment(probe_at),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        moments = {"since": self.since.isoformat(), "probe_at": self.probe_at and self.probe_at.isoformat()}
        return asdict(self) | {"kind": self.kind.value} | moments


class Hold:
    """The hold of all workers, and this process's breaker; safe for many threads.

    Args:
        client: Redis; answers as bytes. It is not closed here.
        by: What this process calls itself.

    Every method but `note` raises `redis.RedisError` when Redis is away.
    """

    def __init__(self, client: redis.Redis, *, by: str) -> None:
        self._client = client
        self._by = by
        self._breaker = Breaker()
        self._one_at_a_time = threading.Lock()
        self._begin = client.register_script(script("begin_hold"))
        self._end = client.register_script(script("end_hold"))
        self._by_hand = client.register_script(script("hold_by_hand"))
        self._probe_soon = client.register_script(script("probe_soon"))

    def state(self) -> HoldState | None:
        """Return the hold, if there is one."""
        return HoldState.read(cast("dict[bytes, bytes]", self._client.hgetall(HOLD)))

    def note(self, verdict: Verdict, now: datetime) -> bool:
        """Note an answer; return whether it makes a sustained run of "not now"."""
        with self._one_at_a_time:
            self._breaker = self._breaker.after(verdict, now)
            return self._breaker.is_open(now)

    def begin(self, kind: HoldKind, reason: str, *, asked: timedelta = timedelta(), probe: bool = False) -> None:
        """Hold; or, if a probe failed, wait longer before the next one.

        Args:
            kind: Why.
            reason: The same in words.
            asked: How long AquilaX asks us to wait, if it does.
            probe: Whether this comes of a probe.
        """
        with self._one_at_a_time:
            self._breaker = Breaker()  # once the hold ends, one more "not now" is not the end of the same run
        waits = [_milliseconds(_FIRST), _milliseconds(_LONGEST), _milliseconds(asked)]
        if self._begin(keys=[HOLD], args=[kind.value, reason, self._by, *waits, int(probe)]):
            log.warning("nothing is sent to AquilaX from now on but a probe now and then: %s", reason)

    def end(self) -> None:
        """A probe was answered: hand out again."""
        if self._end(keys=[HOLD]):
            log.warning("AquilaX answers: the hold has ended")

    def hold(self, reason: str, *, by: str) -> None:
        """Hold by hand, until `resume`."""
        self._by_hand(keys=[HOLD], args=[reason, by])

    def resume(self) -> bool:
        """End whatever hold there is; return whether there was one."""
        return bool(self._client.delete(HOLD))

    def probe_soon(self) -> None:
        """Let the next probe be sent at once: the key, or the URL, may be another one now."""
        self._probe_soon(keys=[HOLD], args=[_milliseconds(_FIRST)])


def _moment(milliseconds: bytes) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
