"""What a plan does next: decided from where it stands, with no I/O, no clock and no chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, assert_never

from worker.database.replay_models import ReplayState, RowState

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "Await",
    "Become",
    "Close",
    "Death",
    "Enqueue",
    "Move",
    "ReplayOrder",
    "Rest",
    "Standing",
    "after_order",
    "look_again",
    "next_due",
    "next_move",
    "rows_at_once",
]

_AT_ONCE: Final = 1000
"""Rows in one step: few enough that Redis and the database serve others meanwhile."""

_EVEN: Final = timedelta(seconds=0.5)
"""A step takes half a second's worth of rows at most, so that a rate is kept evenly from the start."""

_LOOKS: Final = (timedelta(seconds=0.25), timedelta(seconds=30))
"""The shortest and the longest wait between two looks for outcomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A canary that died again.

    Attributes:
        dead_letter_id: Which.
        same_fingerprint: Whether of what it had died of when it was chosen.
        summary: Of what, as text.
    """

    dead_letter_id: int
    same_fingerprint: bool
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a plan stands.

    Attributes:
        state: Its state.
        canary: How many rows are to go first.
        canary_until: The position behind the last canary.
        total: How many rows it has.
        to_go: Whether, of the rows that may go now, any has not gone.
        under_way: Whether, of these rows, any has gone whose outcome has not come.
        delivered: Whether any row was delivered.
        died: A canary that died again.
    """

    state: ReplayState
    canary: int
    canary_until: int
    total: int
    to_go: bool
    under_way: bool
    delivered: bool
    died: Death | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Become:
    """The plan gets another state, or more canaries."""

    state: ReplayState
    canary_until: int
    because: str = ""


@dataclass(frozen=True, slots=True)
class Enqueue:
    """The next rows go."""


@dataclass(frozen=True, slots=True)
class Await:
    """Outcomes have to come first."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done until an operator says so."""


@dataclass(frozen=True, slots=True)
class Close:
    """The plan has ended: what it left behind is cleared up."""


Move = Become | Enqueue | Await | Rest | Close


def next_move(plan: Standing) -> Move:
    """Return what a plan does next."""
    match plan.state:
        case ReplayState.PLANNED:
            first = ReplayState.CANARY if plan.canary else ReplayState.RUNNING
            return Become(state=first, canary_until=plan.canary_until)
        case ReplayState.CANARY:
            return _canary_move(plan)
        case ReplayState.RUNNING:
            if plan.to_go:
                return Enqueue()
            return Await() if plan.under_way else Become(state=ReplayState.FINISHED, canary_until=plan.canary_until)
        case ReplayState.PAUSED:
            return Rest()
        case ReplayState.FINISHED | ReplayState.CANCELLED | ReplayState.STOPPED:
            return Close()
        case _:
            assert_never(plan.state)


def _canary_move(plan: Standing) -> Move:
    if plan.died is not None:
        return Become(state=ReplayState.STOPPED, canary_until=plan.canary_until, because=_why_stopped(plan.died))
    if plan.to_go:
        return Enqueue()
    if plan.under_way:
        return Await()
    if plan.delivered or plan.canary_until >= plan.total:
        return Become(state=ReplayState.RUNNING, canary_until=plan.canary_until)
    # None of them was sent after all, or a later vote overtook each: that proves nothing, so others go first.
    return Become(state=ReplayState.CANARY, canary_until=min(plan.canary_until + plan.canary, plan.total))


def _why_stopped(died: Death) -> str:
    of = "the same cause" if died.same_fingerprint else "another cause"
    return f"row {died.dead_letter_id}, a canary, died again, of {of}: {died.summary}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOrder:
    """What an operator can say of a plan.

    Attributes:
        name: In the audit, after ``replay.``.
        allowed: The states in which it can be said.
    """

    name: str
    allowed: frozenset[ReplayState]

    @classmethod
    def pause(cls) -> ReplayOrder:
        """Let no more rows go for now."""
        return cls(name="pause", allowed=frozenset({ReplayState.PLANNED, ReplayState.CANARY, ReplayState.RUNNING}))

    @classmethod
    def resume(cls) -> ReplayOrder:
        """Let a paused plan go on."""
        return cls(name="resume", allowed=frozenset({ReplayState.PAUSED}))

    @classmethod
    def cancel(cls) -> ReplayOrder:
        """Let no more rows go for ever."""
        return cls(name="cancel", allowed=cls.pause().allowed | cls.resume().allowed)


def after_order(order: ReplayOrder, *, canary: int, started: bool, canary_passed: bool) -> ReplayState:
    """Return the state of a plan after an order that its state allows.

    Args:
        order: The order.
        canary: How many rows are to go first.
        started: Whether the plan had begun.
        canary_passed: Whether its canaries were delivered.
    """
    if order.name == "pause":
        return ReplayState.PAUSED
    if order.name == "cancel":
        return ReplayState.CANCELLED
    if not started:
        return ReplayState.PLANNED
    return ReplayState.CANARY if canary and not canary_passed else ReplayState.RUNNING


def rows_at_once(rate: float | None) -> int:
    """Return how many rows one step takes at most.

    Args:
        rate: Rows a second at most; None if there is no limit.
    """
    return _AT_ONCE if rate is None else int(max(1, min(_AT_ONCE, rate * _EVEN.total_seconds())))


def next_due(*, due: datetime | None, now: datetime, went: int, rate: float | None) -> datetime:
    """Return when the step after this one is due. A step that was late does not make the rate a lower one.

    Args:
        due: When this one was due; None if it is the first.
        now: The time.
        went: How many rows it took.
        rate: Rows a second at most; None if there is no limit.
    """
    if rate is None:
        return now
    began = now if due is None else max(due, now - _EVEN)
    return began + timedelta(seconds=went / rate)


def look_again(*, moved_at: datetime | None, now: datetime) -> timedelta:
    """Return how long to wait for outcomes before looking again: the longer nothing went, the longer.

    Args:
        moved_at: When the last row went.
        now: The time.
    """
    shortest, longest = _LOOKS
    since = timedelta() if moved_at is None else now - moved_at
    return max(shortest, min(since / 4, longest))


TO_GO: Final = (RowState.SENDING, RowState.WAITING)
"""The states of a row that has not gone, in the order in which they are taken: what was cut short goes first."""
