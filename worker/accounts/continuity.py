"""Whether Redis still has the data that it had: its generation and its totals, beside those in the database.

The equation of an emptied Redis holds, 0 = 0; so does that of one that came back from an older copy. What tells them is
what was known before.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from producer.message import QUEUE
from worker.accounts.balance import ENDS
from worker.accounts.keys import KEYS
from worker.accounts.snapshot import take_snapshot
from worker.broker.scripts import Script
from worker.deadletters.generations import (
    HandHold,
    Recorded,
    forget_generation,
    hand_holds,
    record_hand_hold,
    record_totals,
    recorded_generations,
)
from worker.hold import HOLD, HoldKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis
    from sqlalchemy import Engine

    from worker.accounts.snapshot import Snapshot

__all__ = ["Continuity", "Kind", "accept", "look_at_continuity", "record"]

_IDENTIFY: Final = Script("identify", package="worker.accounts")
_CARRY: Final = Script("carry", package="worker.accounts")
_HOLD_AGAIN: Final = Script("hold_again", package="worker.accounts")

_GENERATION: Final = "generation"
_HOLD_CHANGES: Final = "hold_changes"
_ONLY_RISE: Final = ("accepted", *ENDS)
_NO_TOTALS: Final = frozenset({_GENERATION, _HOLD_CHANGES, "carried"})


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
        """How many messages are missing at least: those that waited when they were last seen, or came since."""
        if self.known is None or not self.is_lost:
            return 0
        if self.kind is Kind.NEW:
            return self.known.waiting
        return max(self.known.totals.get("accepted", 0) - self.now.balance.accepted, 0)

    def words(self) -> str:
        """Say what was lost; '' if nothing was."""
        if self.known is None or not self.is_lost:
            return ""
        what = "was emptied, lost its volume, or is another one" if self.kind is Kind.NEW else "is an older copy"
        return (
            f"Redis {what}: it is not the one that was last seen at {self.known.at:%Y-%m-%d %H:%M:%S} UTC with "
            f"{self.known.totals.get('accepted', 0):,} accepted and {self.known.waiting:,} waiting; "
            f"missing since then: {self.missing:,} at least"
        )


def look_at_continuity(client: redis.Redis, engine: Engine) -> Continuity:
    """Compare Redis with what the database knows of it; the database first, as Redis' totals only rise.

    Args:
        client: A client that answers in bytes.
        engine: The database.

    Raises:
        redis.RedisError: Redis is away, or refuses.
        DeadLetterStoreUnavailable: The database can't be asked.
    """
    known, said = recorded_generations(engine), hand_holds(engine)
    return _judge(take_snapshot(client), known, said)


def _judge(now: Snapshot, known: Sequence[Recorded], said: Sequence[HandHold]) -> Continuity:
    generation = str(now.counts.get(_GENERATION, ""))
    this = next((one for one in known if one.generation == generation), None)
    hold = next((one for one in said if one.generation == generation), None)
    if this is not None:
        fell = any(now.counts.get(name, 0) < this.totals.get(name, 0) for name in _ONLY_RISE)
        kind, before = (Kind.OLDER if fell else Kind.SAME), this
    elif known:
        kind, before, hold = Kind.NEW, known[0], hold or next(iter(said), None)
    else:
        return Continuity(kind=Kind.FIRST, now=now, lost_hold=_lost(hold, now))
    return Continuity(kind=kind, now=now, known=before, lost_hold=_lost(hold, now))


def _lost(said: HandHold | None, now: Snapshot) -> HandHold | None:
    if said is None or not said.held or said.change_number <= now.counts.get(_HOLD_CHANGES, 0):
        return None
    return None if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else said


def record(client: redis.Redis, engine: Engine) -> Continuity:
    """Write Redis' totals down, unless it has lost data; and let a hold by hand that it has lost stand again.

    The arguments, and what is raised, are those of `look_at_continuity`.
    """
    found = look_at_continuity(client, engine)
    if _GENERATION not in found.now.counts:
        _identify(client)
        found = look_at_continuity(client, engine)
    if not found.is_lost:
        record_totals(engine, _seen(found.now))
    if (lost := found.lost_hold) is not None:
        _HOLD_AGAIN(client, [HOLD, KEYS.counts_of(QUEUE)], [lost.reason, lost.who, lost.change_number])
        record_hand_hold(engine, _hold_of(take_snapshot(client)))
    elif _HOLD_CHANGES in found.now.counts:
        record_hand_hold(engine, _hold_of(found.now))
    return found


def _identify(client: redis.Redis) -> None:
    _IDENTIFY(client, [KEYS.counts_of(QUEUE)], [secrets.randbelow(2**53)])


def _seen(now: Snapshot) -> Recorded:
    totals = {name: number for name, number in now.counts.items() if name not in _NO_TOTALS}
    waiting = now.queued + now.in_flight + now.scheduled
    return Recorded(generation=str(now.counts[_GENERATION]), at=now.at, waiting=waiting, totals=totals)


def _hold_of(now: Snapshot) -> HandHold:
    hold = now.hold if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else None
    return HandHold(
        generation=str(now.counts[_GENERATION]),
        change_number=now.counts[_HOLD_CHANGES],
        held=hold is not None,
        reason="" if hold is None else hold.reason,
        who="" if hold is None else hold.by,
        since=now.at if hold is None else hold.since,
    )


def accept(client: redis.Redis, engine: Engine, found: Continuity) -> bool:
    """Take Redis as it is, with the totals of what was lost carried on, and what is missing written off.

    Args:
        client: A client that answers in bytes.
        engine: The database.
        found: What was found: that data was lost.

    Returns:
        Whether it was done with this; not if it had been already.

    Raises:
        redis.RedisError, DeadLetterStoreUnavailable: As of `look_at_continuity`; run it again.
    """
    assert found.known is not None, "what is lost was known"  # noqa: S101 - a caller's mistake
    _identify(client)
    before, now = found.known.totals, found.now
    more = _added(before) if found.kind is Kind.NEW else _raised(before, now)
    name = int(found.known.at.timestamp() * 1000)
    carried = bool(_CARRY(client, [KEYS.counts_of(QUEUE)], [name, *(part for item in more.items() for part in item)]))
    if found.kind is Kind.OLDER:
        forget_generation(engine, found.known.generation)
    record_totals(engine, _seen(take_snapshot(client)))
    return carried


def _added(before: Mapping[str, int]) -> dict[str, int]:
    """What was counted before is added to what was counted since; what waited is gone."""
    waited = before.get("accepted", 0) - sum(before.get(end, 0) for end in ENDS)
    return {**before, "written_off": before.get("written_off", 0) + max(waited, 0)}


def _raised(before: Mapping[str, int], now: Snapshot) -> dict[str, int]:
    """No count of the copy stays lower than it was; what it has waiting is there."""
    after = {name: max(number, now.counts.get(name, 0)) for name, number in before.items() if name != "accepted"}
    there = sum(after.get(end, now.counts.get(end, 0)) for end in ENDS) + now.queued + now.in_flight + now.scheduled
    after["accepted"] = max(before.get("accepted", 0), there)
    after["written_off"] = after.get("written_off", 0) + after["accepted"] - there
    return {name: number - now.counts.get(name, 0) for name, number in after.items()}
