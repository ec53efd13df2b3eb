"""Whether Redis still has the data that it had: its generation and its totals, beside those in the database.

The equation of an emptied Redis holds, 0 = 0; so does that of one that came back from an older copy. What tells them is
what was known before.

Every function here takes a client that answers in bytes, and raises `redis.RedisError` if Redis is unavailable or
refuses, and `DeadLetterStoreUnavailable` if the database can't be asked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from worker.accounting.balance import ENDS
from worker.accounting.snapshot import take_snapshot
from worker.clients.redis.keys import CountField, feedback_keys
from worker.clients.redis.scripts import Script, lua
from worker.database.redis_generations import (
    HandHold,
    Recorded,
    forget_generations,
    hand_holds,
    record_hand_hold,
    record_totals,
    recorded_generations,
)
from worker.delivery.hold import HoldKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import redis
    from sqlalchemy import Engine

    from worker.accounting.balance import Balance
    from worker.accounting.snapshot import Snapshot

__all__ = ["MOVING_FIELD", "Continuity", "Kind", "accept", "look_at_continuity", "record"]

_IDENTIFY: Final = Script(lua("worker.accounting", "identify"))
_CARRY: Final = Script(lua("worker.accounting", "carry"))
_HOLD_AGAIN: Final = Script(lua("worker.accounting", "hold_again"))

_GENERATION: Final = "generation"
_HOLD_CHANGES: Final = "hold_changes"
_ACCEPTED: Final = CountField.ACCEPTED.value
_WRITTEN_OFF: Final = CountField.WRITTEN_OFF.value
_ONLY_RISE: Final = (_ACCEPTED, *ENDS)
_CARRIED_FROM: Final = "carried_from"
MOVING_FIELD: Final = "moving"
"""A field of the counts, in both Redises, while `worker.accounting.relocation` copies one to the other."""

_NO_TOTALS: Final = frozenset({_GENERATION, _HOLD_CHANGES, "carried", MOVING_FIELD})


class Kind(StrEnum):
    """What Redis' data is, by what the database knows."""

    FIRST = "first"
    """Nothing was known yet."""
    SAME = "same"
    """That which was known: no total is lower than it was."""
    NEW = "new"
    """Other data than was known: Redis was emptied, has lost its volume, or is another one."""
    OLDER = "older"
    """A copy of the data that was known, from before."""
    MOVING = "moving"
    """That which is being moved to another Redis: totals fall here and rise there, and nothing can be told by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuity:
    """What was found.

    Attributes:
        kind: What Redis' data is.
        now: Redis.
        known: What was known; None if nothing was.
        lost_hold: The hold by hand that Redis has lost; None if it has lost none.
    """

    kind: Kind
    now: Snapshot
    known: Recorded | None = None
    lost_hold: HandHold | None = None

    @property
    def is_lost(self) -> bool:
        """Whether Redis has lost data."""
        return self.kind in {Kind.NEW, Kind.OLDER}

    @property
    def missing(self) -> int:
        """How many messages are missing at least: those that waited when they were last seen, and are not there.

        Of an emptied Redis a worker may still have had some in flight: they end, or come back, as a surplus.
        """
        if self.known is None or not self.is_lost:
            return 0
        there = max(-self.now.balance.missing, 0) if self.kind is Kind.NEW else self.now.waiting
        return max(self.known.waiting - there, 0)

    def summary(self) -> str:
        """Say what was lost; '' if nothing was."""
        if self.known is None or not self.is_lost:
            return ""
        what = "was emptied, lost its volume, or is another one" if self.kind is Kind.NEW else "is an older copy"
        but = ", unless some of them ended around the loss" if self.missing else ""
        return (
            f"Redis {what}: it is not the one that was last seen at {self.known.at:%Y-%m-%d %H:%M:%S} UTC with "
            f"{self.known.totals.get(_ACCEPTED, 0):,} accepted and {self.known.waiting:,} waiting; "
            f"missing since then: {self.missing:,} at least{but}"
        )


def look_at_continuity(client: redis.Redis, engine: Engine) -> Continuity:
    """Compare Redis with what the database knows of it; the database first, as Redis' totals only rise."""
    known, said = recorded_generations(engine), hand_holds(engine)
    return _judge(take_snapshot(client), known, said)


def _judge(now: Snapshot, known: Sequence[Recorded], said: Sequence[HandHold]) -> Continuity:
    generation = str(now.counts.get(_GENERATION, ""))
    this = next((one for one in known if one.generation == generation), None)
    hold = next((one for one in said if one.generation == generation), None)
    if MOVING_FIELD in now.counts:
        return Continuity(kind=Kind.MOVING, now=now, known=this)
    if (later := _carried_on(this, known)) is not None:
        kind, before = Kind.OLDER, later
    elif this is not None:
        fell = any(now.counts.get(name, 0) < this.totals.get(name, 0) for name in _ONLY_RISE)
        kind, before = (Kind.OLDER if fell else Kind.SAME), this
    elif known:
        kind, before, hold = Kind.NEW, known[0], hold or next(iter(said), None)
    else:
        return Continuity(kind=Kind.FIRST, now=now, lost_hold=_lost(hold, now))
    return Continuity(kind=kind, now=now, known=before, lost_hold=_lost(hold, now))


def _carried_on(this: Recorded | None, known: Sequence[Recorded]) -> Recorded | None:
    """The generation that an operator took in place of this one, which has come back now; None if there is none."""
    later = this
    for _ in known:
        name = later and later.generation
        later = next((one for one in known if str(one.totals.get(_CARRIED_FROM, "")) == name), later)
    return None if later is this else later


def _lost(said: HandHold | None, now: Snapshot) -> HandHold | None:
    if said is None or not said.held or said.change_number <= now.counts.get(_HOLD_CHANGES, 0):
        return None
    return None if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else said


def record(client: redis.Redis, engine: Engine) -> Continuity:
    """Write Redis' totals down, unless it has lost data or is moved; and restore a hold by hand that it has lost."""
    found = look_at_continuity(client, engine)
    if found.kind is Kind.MOVING:
        return found
    if _GENERATION not in found.now.counts:
        _identify(client)
        found = look_at_continuity(client, engine)
    if not found.is_lost:
        record_totals(engine, _seen(found.now))
    if (lost := found.lost_hold) is not None:
        keys = feedback_keys(client)
        _HOLD_AGAIN(
            client, [keys.hold, keys.counts], [lost.comment, lost.actor, lost.change_number, _milliseconds(lost.since)]
        )
        record_hand_hold(engine, _hold_of(take_snapshot(client)))
    elif _HOLD_CHANGES in found.now.counts:
        record_hand_hold(engine, _hold_of(found.now))
    return found


def _identify(client: redis.Redis) -> None:
    _IDENTIFY(client, [feedback_keys(client).counts], [secrets.randbelow(2**53)])


def _seen(now: Snapshot) -> Recorded:
    totals = {name: number for name, number in now.counts.items() if name not in _NO_TOTALS}
    return Recorded(generation=str(now.counts[_GENERATION]), at=now.at, waiting=now.waiting, totals=totals)


def _hold_of(now: Snapshot) -> HandHold:
    hold = now.hold if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else None
    return HandHold(
        generation=str(now.counts[_GENERATION]),
        change_number=now.counts[_HOLD_CHANGES],
        held=hold is not None,
        comment="" if hold is None else hold.comment,
        actor="" if hold is None else hold.actor,
        since=now.at if hold is None or hold.since is None else hold.since,
    )


def accept(client: redis.Redis, engine: Engine, found: Continuity, balance: Balance) -> int | None:
    """Take Redis as it is, with the totals of what was lost carried on, and what is missing written off.

    Args:
        client: Redis.
        engine: The database.
        found: What was found: that data was lost.
        balance: The equation of what Redis has now.

    Returns:
        How many were written off; None if it had been done already.
    """
    assert found.known is not None, "what is lost was known"  # noqa: S101 - only a caller's mistake fails this, never an input
    _identify(client)
    before, missing = _totals_of(found.known, balance.uncounted), balance.missing
    more, written_off = _added(before, missing) if found.kind is Kind.NEW else _raised(before, found.now, missing)
    source = found.known.generation if found.kind is Kind.NEW else ""
    parts = [part for item in more.items() for part in item]
    carried = bool(_CARRY(client, [feedback_keys(client).counts], [_milliseconds(found.known.at), source, *parts]))
    if found.kind is Kind.OLDER:
        forget_generations(engine)
    record_totals(engine, _seen(take_snapshot(client)))
    return written_off if carried else None


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _totals_of(known: Recorded, uncounted: int) -> dict[str, int]:
    """Return what was counted, with foreign messages that no worker had counted yet, and that are not there now."""
    before = {name: number for name, number in known.totals.items() if name != _CARRIED_FROM}
    not_ended = before.get(_ACCEPTED, 0) - sum(before.get(end, 0) for end in ENDS)
    return before | {_ACCEPTED: before.get(_ACCEPTED, 0) + max(known.waiting - not_ended - uncounted, 0)}


def _added(before: Mapping[str, int], missing: int) -> tuple[dict[str, int], int]:
    """What was counted before is added to what was counted since; what waited is gone, unless it is the surplus."""
    waited = before.get(_ACCEPTED, 0) - sum(before.get(end, 0) for end in ENDS)
    gone = waited + missing
    written_off = max(gone, 0)
    accepted = before.get(_ACCEPTED, 0) + max(-gone, 0)
    given_up = before.get(_WRITTEN_OFF, 0) + written_off
    return {**before, _ACCEPTED: accepted, _WRITTEN_OFF: given_up}, written_off


def _raised(before: Mapping[str, int], now: Snapshot, missing: int) -> tuple[dict[str, int], int]:
    """No count of the copy stays lower than it was; what it has waiting is there."""
    after = {name: max(number, now.counts.get(name, 0)) for name, number in before.items() if name != _ACCEPTED}
    there = now.balance.accepted - now.balance.ended - missing
    there += sum(after.get(end, now.counts.get(end, 0)) for end in ENDS)
    after[_ACCEPTED] = max(before.get(_ACCEPTED, 0), there)
    written_off = after[_ACCEPTED] - there
    after[_WRITTEN_OFF] = after.get(_WRITTEN_OFF, 0) + written_off
    return {name: number - now.counts.get(name, 0) for name, number in after.items()}, written_off
