"""What stands at a moment that an operator should know of: a hold, an old backlog, a loss. Pure.

A condition has a name that stays the same as long as it stands, in every worker and across restarts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.accounting.continuity import MOVING_FIELD
from worker.accounting.snapshot import PartitionLook
from worker.clients.redis.partitions import shown_partition
from worker.delivery.hold import HoldKind
from worker.delivery.org_holds import key_scope
from worker.notifications.events import EventKind
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime, timedelta

    from worker.accounting.continuity import Continuity
    from worker.accounting.snapshot import Snapshot
    from worker.delivery.hold import HoldState
    from worker.notifications.observation import Observation

__all__ = ["BACKLOG", "HELD", "HELD_BY_KEY", "HOLD", "LOSS", "Condition", "Conditions", "conditions_of"]

HOLD: Final = "hold:"
HELD: Final = "held:"
HELD_BY_KEY: Final = f"{HELD}{key_scope('')}"
BACKLOG: Final = "backlog"
LOSS: Final = "loss:"
_BALANCE: Final = f"{LOSS}balance:"
_DATA: Final = f"{LOSS}data:"

_LOOKS: Final = 3
"""How often in a row what is missing must be: reconciling is as careful."""

_ENDS_BELOW: Final = 0.5
"""An old backlog has ended at this share of the age at which it began: around that age it would come and go."""

_HOLDS: Final[Mapping[HoldKind, str]] = {
    HoldKind.LOCKED_OUT: "AquilaX refuses our key, or is elsewhere",
    HoldKind.BREAKER: "AquilaX is down",
    HoldKind.OPERATOR: "an operator holds",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that stands.

    Attributes:
        kind: The event that it begins with.
        subject: Of what.
        text: It in one line.
        urgent: Whether it is told in quiet hours too.
        looks: In how many looks in a row it must be seen.
    """

    kind: EventKind
    subject: str
    text: str
    urgent: bool = False
    looks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """All that stand.

    Attributes:
        standing: Those that do, by their names.
        unknown: What the names of those begin with of which it can't be told.
    """

    standing: Mapping[str, Condition]
    unknown: tuple[str, ...] = ()

    def is_unknown(self, name: str) -> bool:
        """Whether it can't be told if a condition stands."""
        return name.startswith(self.unknown)


def conditions_of(
    seen: Observation, *, backlog_age: timedelta, standing: Collection[str], resumed_at: datetime | None
) -> Conditions:
    """Return what stands.

    Args:
        seen: What was observed.
        backlog_age: How old the oldest event must be.
        standing: The names of the conditions that stood before.
        resumed_at: When the last hold ended: nothing could wait less long than that.
    """
    found = dict(_holds(seen.snapshot))
    moving = MOVING_FIELD in seen.snapshot.counts  # to another Redis: what is gone here is there
    unknown = [LOSS] if moving or seen.continuity is None or not seen.snapshot.is_whole else []
    if found or seen.org_holds:
        unknown.append(BACKLOG)  # what a hold keeps waiting is the hold's
    else:
        limit = backlog_age * (_ENDS_BELOW if BACKLOG in standing else 1)
        found |= _backlog(seen.snapshot, limit, resumed_at)
    found |= {HELD + hold.scope: _hold(hold.state, f"for {hold.shown}", subject=hold.scope) for hold in seen.org_holds}
    if not moving:
        found |= _missing(seen.snapshot)
    if seen.continuity is not None:
        found |= _lost_data(seen.continuity)
    return Conditions(standing=found, unknown=tuple(unknown))


def _holds(now: Snapshot) -> Iterator[tuple[str, Condition]]:
    for hold in (now.hold, now.hold and now.hold.beneath):
        if hold is not None:
            yield HOLD + hold.kind, _hold(hold, "to AquilaX", subject=hold.kind.value)


def _hold(state: HoldState, what: str, *, subject: str) -> Condition:
    actor = f" ({state.actor})" if state.by_hand and state.actor else ""
    return Condition(
        kind=EventKind.HOLD_BEGUN,
        subject=subject,
        text=f"nothing is sent {what}: {_HOLDS[state.kind]}{actor}: {state.comment or 'no comment'}",
        urgent=state.kind is HoldKind.LOCKED_OUT,
    )


def _backlog(now: Snapshot, limit: timedelta, resumed_at: datetime | None) -> dict[str, Condition]:
    if now.oldest is None or now.at - max(now.oldest, resumed_at or now.oldest) < limit:
        return {}
    text = f"the oldest event was enqueued {span(now.at - now.oldest)} ago; {now.waiting:,} wait, {now.workers} workers"
    return {BACKLOG: Condition(kind=EventKind.BACKLOG_OLD, subject="", text=text)}


def _missing(now: Snapshot) -> dict[str, Condition]:
    """Of each partition by itself: in the sum, one may make up for another."""
    parts = now.parts or (PartitionLook(number=0, snapshot=now),)
    found = {}
    for part in parts:
        missing = 0 if part.snapshot is None else part.snapshot.balance.missing
        if missing > 0:
            where = f" in partition {shown_partition(part.number)}" if now.parts else ""
            text = f"{missing:,} events are missing{where}: `aquilax-feedback reconcile` says which"
            found[f"{_BALANCE}{part.number}"] = _loss("balance", text, _LOOKS)
    return found


def _lost_data(found: Continuity) -> dict[str, Condition]:
    """What is one loss of several partitions is told once."""
    if not found.is_lost:
        return {}
    numbers = "+".join(str(part.number or 0) for part in found.lost)
    text = f"Redis has lost data: {found.summary()}; see `aquilax-feedback reconcile`"
    return {f"{_DATA}{numbers}": _loss("data", text, 1)}


def _loss(subject: str, text: str, looks: int) -> Condition:
    return Condition(kind=EventKind.LOSS_FOUND, subject=subject, text=text, urgent=True, looks=looks)
