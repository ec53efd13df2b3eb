"""The hold: while it stands in Redis nothing is handed out from the queue, but for a probe now and then.

It is for all workers: the worker that finds our key wrong, or AquilaX down, writes it down, and the script
that hands messages over (`worker/broker/lua/fetch.lua`) looks at it first. What waits stays in the queue.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self, cast

import redis

from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import TIME, Script, lua
from worker.policy.circuit_breaker import CircuitBreaker
from worker.policy.classification import Classification

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.clients.redis.scripts import RunsScripts

__all__ = ["FIRST_PROBE", "LONGEST_PROBE", "Announcer", "Hold", "HoldKind", "HoldState"]

log = logging.getLogger(__name__)

FIRST_PROBE: Final = timedelta(seconds=1)
LONGEST_PROBE: Final = timedelta(minutes=1)
"""The time until the first probe, which doubles with each that fails, and the longest."""

_BENEATH: Final = b"beneath_"
"""What the fields of a hold begin with that has begun by itself, while an operator holds too."""

_WRONG_TYPE: Final = "WRONGTYPE"
_SHOWN: Final = 120
"""Characters of what is no hold."""

_BEGIN: Final = Script(TIME + lua("worker.delivery", "begin_hold"))
_END: Final = Script(lua("worker.delivery", "end_hold"))
_BY_HAND: Final = Script(TIME + lua("worker.delivery", "hold_by_hand"))
_RESUME: Final = Script(TIME + lua("worker.delivery", "resume_hold"))
_PROBE_SOON: Final = Script(TIME + lua("worker.delivery", "probe_soon"))


class HoldKind(StrEnum):
    """Why nothing is handed out."""

    LOCKED_OUT = "locked_out"
    """AquilaX does not take our key, or is elsewhere."""
    BREAKER = "breaker"
    """AquilaX has been unable to take anything for a while."""
    OPERATOR = "operator"
    """An operator said so. There are no probes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """A hold.

    Attributes:
        kind: What it is for.
        comment: Why it stands: an operator's comment, or the response that began it.
        since: Since when; None if that can't be read.
        actor: The operator, or the worker that began it; '' if that can't be read.
        probes: Events that were sent to see whether it can end.
        probe_at: When the next may be sent; None if there are none.
        beneath: The hold that has begun by itself, if an operator holds too: it goes on when the operator resumes.
    """

    kind: HoldKind
    comment: str
    since: datetime | None
    actor: str
    probes: int
    probe_at: datetime | None
    beneath: HoldState | None = None

    @property
    def by_hand(self) -> bool:
        """Whether an operator holds."""
        return self.kind is HoldKind.OPERATOR

    @property
    def automatic(self) -> HoldState | None:
        """The hold that has begun by itself, if there is one."""
        return self.beneath if self.by_hand else self

    @classmethod
    def read(cls, fields: dict[bytes, bytes], *, key: str, beneath: bool = False) -> Self | None:
        """Read what stands in Redis; None if there is no hold.

        Whatever stands there, nothing is handed out: what is no hold of ours is told as one that an operator ends.

        Args:
            fields: The hash.
            key: Its key, which is named where it is no hold of ours.
            beneath: Whether it is the hold beneath one by hand, which has no probes meanwhile.
        """
        if not fields:
            return None
        kind, comment = _kind(fields), fields.get(b"comment", b"").decode(errors="replace")
        if kind is not HoldKind.OPERATOR and not beneath and _moment(fields.get(b"probe_at")) is None:
            kind = None  # no probe would ever end it
        if kind is None:
            comment = f"the key {key} is unreadable ({_shown(fields)}); `aquilax-feedback resume` deletes it"
        under = {name.removeprefix(_BENEATH): value for name, value in fields.items() if name.startswith(_BENEATH)}
        return cls(
            kind=kind or HoldKind.OPERATOR,
            comment=comment,
            since=_moment(fields.get(b"since")),
            actor=fields.get(b"actor", b"").decode(errors="replace"),
            probes=_number(fields.get(b"probes")) or 0,
            probe_at=_moment(fields.get(b"probe_at")),
            beneath=cls.read(under, key=key, beneath=True),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it; ``beneath`` is there only if such a hold is."""
        moments = {
            "since": self.since and self.since.isoformat(),
            "probe_at": self.probe_at and self.probe_at.isoformat(),
        }
        record = asdict(self) | {"kind": self.kind.value} | moments
        del record["beneath"]
        return record if self.beneath is None else record | {"beneath": self.beneath.as_dict()}


class Announcer:
    """Says in the log, once for this process, that a hold stands, why, and that it has ended; safe for many threads.

    A process hears of a hold when something of its own is held: one that has nothing in flight has nothing to say.
    """

    def __init__(self) -> None:
        self._announced: str | None = None
        self._heard_at: datetime | None = None
        self._one_at_a_time = threading.Lock()

    def held(self, comment: str, *, by_hand: bool, at: datetime | None = None) -> None:
        """Note that a hold stands.

        Args:
            comment: Why.
            by_hand: Whether an operator holds.
            at: When that was heard, if others may have asked before and be told only now that there is none.
        """
        until = "until `aquilax-feedback resume`" if by_hand else "from now on but a probe now and then"
        text = f"nothing is sent to AquilaX {until}: {comment}"
        with self._one_at_a_time:
            before, self._announced, self._heard_at = self._announced, text, at
        if before != text:
            log.warning("%s", text)

    def ended(self, *, at: datetime | None = None) -> None:
        """Note that no hold stands; ``at`` is when that was asked, if something may have been heard since."""
        with self._one_at_a_time:
            if self._announced is None or (at is not None and self._heard_at is not None and at <= self._heard_at):
                return
            self._announced = None
        log.info("the hold has ended: feedback is sent to AquilaX again")


class Hold:
    """The hold of all workers, and this process's breaker; safe for many threads.

    Args:
        client: Redis; it is not closed here.
        scripts: What runs scripts in it, if not the client.
        actor: What this process calls itself.
        announcer: The process's own, if more than this object hears of holds.
        begun: Is told the kind of a hold that this object begins.
        changed: Is called when this object has begun or ended one.
        stands: Is called whenever an answer of AquilaX has shown that one stands.

    Every method but `let_through` and `turned_away` raises `redis.RedisError` when Redis is unavailable.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        scripts: RunsScripts | None = None,
        actor: str,
        announcer: Announcer | None = None,
        begun: Callable[[HoldKind], None] = lambda _: None,
        changed: Callable[[], None] = lambda: None,
        stands: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        keys = feedback_keys(client)
        self._key, self._and_counts = keys.hold, [keys.hold, keys.counts]
        self._scripts: RunsScripts = client if scripts is None else scripts
        self._actor = actor
        self._announcer = announcer or Announcer()
        self._begun = begun
        self._changed = changed
        self._stands = stands
        self._breaker = CircuitBreaker()
        self._one_at_a_time = threading.Lock()

    def state(self) -> HoldState | None:
        """Return the hold, if there is one."""
        try:
            fields = cast("dict[bytes, bytes]", self._client.hgetall(self._key))
        except redis.ResponseError as error:
            if not str(error).startswith(_WRONG_TYPE):
                raise
            fields = {b"unreadable": b"another type"}
        return HoldState.read(fields, key=self._key)

    def heard(
        self,
        classification: Classification,
        why: str,
        *,
        at: datetime,
        asked: timedelta = timedelta(),
        probe: bool = False,
    ) -> bool:
        """Note an answer of AquilaX, which may begin a hold, prolong one, or end it.

        Args:
            classification: What the answer means.
            why: The answer as text.
            at: When it came.
            asked: How long AquilaX asks us to wait, if it does.
            probe: Whether it is the answer to a probe.

        Returns:
            Whether the event shares its fate with all others: a hold stands, and the answer says nothing else.
        """
        with self._one_at_a_time:
            self._breaker = self._breaker.after(classification, at)
            sustained = self._breaker.is_open(at)
        match classification:
            case Classification.UNAUTHORIZED:
                return self._begin(HoldKind.LOCKED_OUT, why, at=at, asked=asked, probe=probe)
            case Classification.RETRYABLE:
                return self._begin(HoldKind.BREAKER, why, at=at, asked=asked, probe=probe, sustained=sustained)
            case _:
                if probe:
                    self._end()
                return False

    def _begin(
        self, kind: HoldKind, comment: str, *, at: datetime, asked: timedelta, probe: bool, sustained: bool = True
    ) -> bool:
        waits = [_milliseconds(FIRST_PROBE), _milliseconds(LONGEST_PROBE), _milliseconds(asked)]
        stands = _BEGIN(
            self._scripts, [self._key], [kind.value, comment, self._actor, *waits, int(probe), int(sustained)]
        )
        if not stands:
            return False
        self._stands()
        with self._one_at_a_time:
            self._breaker = CircuitBreaker()  # once the hold ends, one more "not now" is not the end of the same run
        standing, comment = (part.decode(errors="replace") for part in stands[:2])
        if stands[2]:
            self._begun(kind)
            self._changed()
        self.turned_away(comment, by_hand=standing == HoldKind.OPERATOR, at=at)
        return True

    def _end(self) -> None:
        if _END(self._scripts, [self._key], []):
            self._announcer.ended()
            self._changed()

    def turned_away(self, comment: str, *, by_hand: bool, at: datetime) -> None:
        """Note that an event was not sent because of a hold, for this comment; whether an operator's, and when."""
        self._announcer.held(comment, by_hand=by_hand, at=at)

    def let_through(self, *, asked_at: datetime) -> None:
        """Note that an event could be sent, as no hold stood when that was asked."""
        self._announcer.ended(at=asked_at)

    def hold(self, comment: str, *, actor: str) -> None:
        """Hold by hand, until `resume`; a hold that has begun by itself stays noted beneath."""
        _BY_HAND(self._scripts, self._and_counts, [comment, actor])

    def resume(self) -> bool:
        """End the hold by hand, or where there is none whatever hold there is; return whether there was one.

        A hold that had begun by itself beneath one by hand goes on, and its next probe is due.
        """
        return bool(_RESUME(self._scripts, self._and_counts, [_milliseconds(FIRST_PROBE)]))

    def probe_soon(self) -> None:
        """Let the next probe be sent at once: the key, or the URL, may be another one now; or the last had no need.

        A `Retry-After` is obeyed all the same.
        """
        _PROBE_SOON(self._scripts, [self._key], [])


def _kind(fields: dict[bytes, bytes]) -> HoldKind | None:
    kind = fields.get(b"kind", b"").decode(errors="replace")
    return HoldKind(kind) if kind in set(HoldKind) else None


def _shown(fields: dict[bytes, bytes]) -> str:
    """What stands there, as far as a sentence has room for it."""
    return ", ".join(f"{name!r}: {value!r}" for name, value in fields.items())[:_SHOWN]


def _number(text: bytes | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _moment(milliseconds: bytes | None) -> datetime | None:
    number = _number(milliseconds)
    try:
        return None if number is None else datetime.fromtimestamp(number / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _milliseconds(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
