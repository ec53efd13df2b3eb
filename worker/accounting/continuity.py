"""Whether Redis still has the data that it had: its generation and its totals, beside those in the database.

The equation of an emptied Redis holds, 0 = 0; so does that of one that came back from an older copy. What tells them is
what was known before.

Each partition is judged by itself: in the sum one that has lost its data would be made up for by what the others count.
All have a generation of their own. The first one's names what the database knows, and the others' rows are named by it,
with the number of times that the queue was laid into another number of partitions, and their own number.

Every function here takes clients that answer in bytes, and raises `redis.RedisError` if Redis is unavailable or
refuses, and `DeadLetterStoreUnavailable` if the database can't be asked.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.balance import ENDS
from worker.accounting.carried_totals import CARRIED_FROM, GENERATION, added, raised, totals_before
from worker.accounting.snapshot import snapshot_of, take_partial_snapshot, take_snapshot
from worker.clients.redis.keys import CountField, feedback_keys
from worker.clients.redis.partitions import shown_partition
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
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.accounting.balance import Balance
    from worker.accounting.snapshot import PartitionLook, Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["LAYOUT_FIELD", "MOVING_FIELD", "Continuity", "Kind", "accept", "look_at_continuity", "record"]

_IDENTIFY: Final = Script(lua("worker.accounting", "identify"))
_CARRY: Final = Script(lua("worker.accounting", "carry"))
_HOLD_AGAIN: Final = Script(lua("worker.accounting", "hold_again"))

_HOLD_CHANGES: Final = "hold_changes"
_ACCEPTED: Final = CountField.ACCEPTED.value
_ONLY_RISE: Final = (_ACCEPTED, *ENDS)
MOVING_FIELD: Final = "moving"
"""A field of the counts, in both Redises, while `worker.accounting.relocation` copies one to the other."""

LAYOUT_FIELD: Final = "layout"
"""A field of the counts: how often the queue was laid into another number of partitions."""

_SEPARATOR: Final = ":"
"""Between the parts of the names of other partitions' rows."""

_NO_TOTALS: Final = frozenset({GENERATION, _HOLD_CHANGES, "org_hold_changes", "carried", MOVING_FIELD})


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
        number: The partition; None if there is only one, or it is of all.
        parts: What was found of each partition that could be asked; empty if there is only one.
    """

    kind: Kind
    now: Snapshot
    known: Recorded | None = None
    lost_hold: HandHold | None = None
    number: int | None = None
    parts: tuple[Continuity, ...] = ()

    @property
    def is_lost(self) -> bool:
        """Whether Redis has lost data."""
        return self.kind in {Kind.NEW, Kind.OLDER}

    @property
    def lost(self) -> tuple[Continuity, ...]:
        """The partitions that have lost data, or the only one; empty if none has."""
        return tuple(part for part in self.parts or (self,) if part.is_lost)

    @property
    def missing(self) -> int:
        """How many messages are missing at least: those that waited when they were last seen, and are not there.

        Of an emptied Redis a worker may still have had some in flight: they end, or come back, as a surplus.
        """
        if self.parts:
            return sum(part.missing for part in self.parts)
        if self.known is None or not self.is_lost:
            return 0
        there = max(-self.now.balance.missing, 0) if self.kind is Kind.NEW else self.now.waiting
        return max(self.known.waiting - there, 0)

    def summary(self) -> str:
        """Say what was lost, and in which partitions; '' if nothing was."""
        of_kind = [(kind, [part for part in self.lost if part.kind is kind]) for kind in (Kind.NEW, Kind.OLDER)]
        return "; ".join(_told(kind, parts) for kind, parts in of_kind if parts)


def _told(kind: Kind, lost: Sequence[Continuity]) -> str:
    known = [part.known for part in lost if part.known is not None]
    missing = sum(part.missing for part in lost)
    numbers = [shown_partition(part.number) for part in lost if part.number is not None]
    what = "was emptied, lost its volume, or is another one" if kind is Kind.NEW else "is an older copy"
    which = f" of partition{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}" if numbers else ""
    but = ", unless some of them ended around the loss" if missing else ""
    accepted, waiting = sum(one.totals.get(_ACCEPTED, 0) for one in known), sum(one.waiting for one in known)
    return (
        f"Redis{which} {what}: it is not the one that was last seen at "
        f"{max(one.at for one in known):%Y-%m-%d %H:%M:%S} UTC with {accepted:,} accepted and {waiting:,} waiting; "
        f"missing since then: {missing:,} at least{but}"
    )


def look_at_continuity(partitions: Partitions, engine: Engine, *, away: Sequence[PartitionLook] = ()) -> Continuity:
    """Compare Redis with what the database knows of it; the database first, as Redis' totals only rise.

    Of partitions that can't be asked nothing is said, as long as it is not the first one.

    Args:
        partitions: Redis.
        engine: The database.
        away: Partitions that could not be asked a moment ago: they are not waited for again.
    """
    known, said = recorded_generations(engine), hand_holds(engine)
    return _judge(take_partial_snapshot(partitions, away=away), known, said)


def _judge(now: Snapshot, known: Sequence[Recorded], said: Sequence[HandHold]) -> Continuity:
    of_home = [one for one in known if _SEPARATOR not in one.generation]
    if not now.parts:
        return _judge_home(now, of_home, said)
    home = _judge_home(_home(now), of_home, said)
    if home.kind is Kind.MOVING:
        return replace(home, now=now)
    rows = {one.generation: one for one in known}
    others = [
        _judge_part(part.snapshot, rows.get(_row_name(home, part.number)), part.number)
        for part in now.parts[1:]
        if part.snapshot is not None
    ]
    parts = (replace(home, number=0), *others)
    kind = next((part.kind for part in parts if part.is_lost), home.kind)
    return replace(home, kind=kind, now=now, parts=parts)


def _home(now: Snapshot) -> Snapshot:
    """The moment of the first partition, by which the others are known."""
    first = now.moments[0] if not now.parts else now.parts[0].snapshot
    if first is None:
        raise now.parts[0].error or redis.ConnectionError("the first partition can't be asked")
    return first


def _row_name(home: Continuity, number: int) -> str:
    """What the row of another partition is called: behind the generation that the first one has, or has lost."""
    known = home.known
    if known is not None and home.kind is Kind.NEW:
        generation, layout = known.generation, known.totals.get(LAYOUT_FIELD, 0)
    else:
        generation, layout = str(home.now.counts.get(GENERATION, "")), home.now.counts.get(LAYOUT_FIELD, 0)
    return _SEPARATOR.join((generation, str(layout), shown_partition(number)))


def _judge_part(now: Snapshot, known: Recorded | None, number: int) -> Continuity:
    if known is None:
        return Continuity(kind=Kind.FIRST, now=now, number=number)
    if now.counts.get(GENERATION) != known.totals.get(GENERATION):
        kind = Kind.NEW
    else:
        kind = Kind.OLDER if _fell(now, known) else Kind.SAME
    return Continuity(kind=kind, now=now, known=known, number=number)


def _fell(now: Snapshot, known: Recorded) -> bool:
    """Whether a total is lower than it was. What waits is counted elsewhere since the number of partitions changed."""
    laid_anew = now.counts.get(LAYOUT_FIELD, 0) > known.totals.get(LAYOUT_FIELD, 0)
    names = (LAYOUT_FIELD, *(ENDS if laid_anew else _ONLY_RISE))
    return any(now.counts.get(name, 0) < known.totals.get(name, 0) for name in names)


def _judge_home(now: Snapshot, known: Sequence[Recorded], said: Sequence[HandHold]) -> Continuity:
    generation = str(now.counts.get(GENERATION, ""))
    this = next((one for one in known if one.generation == generation), None)
    hold = next((one for one in said if one.generation == generation), None)
    if MOVING_FIELD in now.counts:
        return Continuity(kind=Kind.MOVING, now=now, known=this)
    if (later := _carried_on(this, known)) is not None:
        kind, before = Kind.OLDER, later
    elif this is not None:
        kind, before = (Kind.OLDER if _fell(now, this) else Kind.SAME), this
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
        later = next((one for one in known if str(one.totals.get(CARRIED_FROM, "")) == name), later)
    return None if later is this else later


def _lost(said: HandHold | None, now: Snapshot) -> HandHold | None:
    if said is None or not said.held or said.change_number <= now.counts.get(_HOLD_CHANGES, 0):
        return None
    return None if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else said


def record(partitions: Partitions, engine: Engine) -> Continuity:
    """Write Redis' totals down, unless it has lost data or is moved; and restore a hold by hand that it has lost.

    Of several partitions those are left out that have lost data, or can't be asked.
    """
    found = look_at_continuity(partitions, engine)
    if found.kind is Kind.MOVING:
        return found
    if unnamed := _without_generation(found.now):
        partitions.ask_all(_identify, only=unnamed)
        found = look_at_continuity(partitions, engine)
    if not (found.parts or (found,))[0].is_lost:
        record_totals(engine, *_seen(found, but={part.number for part in found.lost}))
    home = _home(found.now)
    if (lost := found.lost_hold) is not None:
        keys = feedback_keys(partitions.home)
        values = [lost.comment, lost.actor, lost.change_number, _milliseconds(lost.since)]
        _HOLD_AGAIN(partitions.home, [keys.hold, keys.counts], values)
        record_hand_hold(engine, _hold_of(snapshot_of(partitions.home)))
    elif _HOLD_CHANGES in home.counts:
        record_hand_hold(engine, _hold_of(home))
    return found


def _without_generation(now: Snapshot) -> list[int]:
    """The numbers of the partitions that have not been given one yet, of those that could be asked."""
    if not now.parts:
        return [] if GENERATION in now.counts else [0]
    moments = [(part.number, part.snapshot) for part in now.parts]
    return [number for number, moment in moments if moment is not None and GENERATION not in moment.counts]


def _identify(client: redis.Redis) -> None:
    _IDENTIFY(client, [feedback_keys(client).counts], [secrets.randbelow(2**53)])


def _seen(found: Continuity, *, but: Collection[int | None] = ()) -> list[Recorded]:
    """What is to be known of Redis from now on, without some of its partitions."""
    home, *others = found.parts or (found,)
    rows = [_row(home.now, str(home.now.counts[GENERATION]), but=_NO_TOTALS)]
    return rows + [
        _row(part.now, _row_name(home, part.number or 0), but=_NO_TOTALS - {GENERATION})
        for part in others
        if part.number not in but
    ]


def _row(now: Snapshot, name: str, *, but: Collection[str]) -> Recorded:
    totals = {field: number for field, number in now.counts.items() if field not in but}
    return Recorded(generation=name, at=now.at, waiting=now.waiting, totals=totals)


def _hold_of(now: Snapshot) -> HandHold:
    hold = now.hold if now.hold is not None and now.hold.kind is HoldKind.OPERATOR else None
    return HandHold(
        generation=str(now.counts[GENERATION]),
        change_number=now.counts[_HOLD_CHANGES],
        held=hold is not None,
        comment="" if hold is None else hold.comment,
        actor="" if hold is None else hold.actor,
        since=now.at if hold is None or hold.since is None else hold.since,
    )


def accept(partitions: Partitions, engine: Engine, found: Continuity, balances: Sequence[Balance]) -> int | None:
    """Take Redis as it is, with the totals of what was lost carried on, and what is missing written off.

    Args:
        partitions: Redis.
        engine: The database.
        found: What was found: that data was lost.
        balances: The equation of what each partition has now, by its number.

    Returns:
        How many were written off; None if it had been done already.
    """
    partitions.ask_all(_identify)
    carried = [_accept(partitions[part.number or 0], part, balances[part.number or 0]) for part in found.lost]
    if any(part.kind is Kind.OLDER for part in found.lost):
        forget_generations(engine)
    record_totals(engine, *_seen(_judge(take_snapshot(partitions), [], [])))
    done = [written_off for written_off in carried if written_off is not None]
    return sum(done) if done else None


def _accept(client: redis.Redis, found: Continuity, balance: Balance) -> int | None:
    """Take one partition as it is."""
    assert found.known is not None, "what is lost was known"  # noqa: S101 - only a caller's mistake fails this, never an input
    before, missing = totals_before(found.known, balance.uncounted), balance.missing
    more, written_off = added(before, missing) if found.kind is Kind.NEW else raised(before, found.now, missing)
    source = found.known.generation if found.kind is Kind.NEW and not found.number else ""
    parts = [part for item in more.items() for part in item]
    carried = _CARRY(client, [feedback_keys(client).counts], [_milliseconds(found.known.at), source, *parts])
    return written_off if carried else None


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
