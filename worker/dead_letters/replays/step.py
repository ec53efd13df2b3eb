"""One step of a plan. Killed at any moment, it is done again, and no row is missed and none enqueued twice.

A chunk of rows takes three steps, each of which is finished before the next one:

1. mark: the rows become ``sending``, and their dead letters ``replaying``, in one transaction;
2. enqueue: their messages go into the queue in one command for each partition, which leaves out those that have gone;
3. confirm: the rows become ``enqueued``; the next step, if it is due, marks its rows in the same transaction.

Who is killed in between leaves rows that are ``sending``, and the next step begins with them. A plan is worked on by
one at a time: each step takes the plan's lease, for the step that it was told. Two at once, because a lease ended too
soon, do no harm but to the rate.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, assert_never, cast

import redis
from sqlalchemy import CursorResult, Engine, or_, select, update

from producer.message import to_message
from worker.clients.redis.keys import prefix_of
from worker.database.errors import DeadLetterStoreUnavailable, translated
from worker.database.models import DeadLetter
from worker.database.replay_models import ACTIVE, Replay, ReplayRow, ReplayState, RowState
from worker.dead_letters.replays import batch as chunks
from worker.dead_letters.replays.batch import Batch
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.policy import (
    TO_GO,
    Await,
    Become,
    Close,
    Death,
    Enqueue,
    Rest,
    Standing,
    look_again,
    next_due,
    next_move,
    rows_at_once,
)
from worker.dead_letters.replays.queue import PRIORITY, enqueue, withhold

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Connection

    from worker.clients.redis.partitions import Partitions

__all__ = ["NextStep", "ReplayEnded", "Step", "StepTaken", "advance"]

_EARLY: Final = timedelta(milliseconds=50)
"""A step that comes so much too soon is done at once."""

_AFTER_A_FAILURE: Final = timedelta(seconds=5)

_AT_A_STRETCH: Final = 10
"""Steps that are due at once are done one after the other, without a message between them; after so many another worker
may go on, and one that stops has waited for no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """There is more to do.

    Attributes:
        step_number: As this step.
        after: In so much time.
        waits: Whether outcomes have to come first.
    """

    step_number: int
    after: timedelta
    waits: bool = False


@dataclass(frozen=True, slots=True)
class ReplayEnded:
    """There is nothing to do: the plan has ended, or is paused."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """Another process is at it, or has done it."""


Step = NextStep | ReplayEnded | StepTaken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A plan whose lease this step has."""

    id: int
    name: str
    step_number: int
    state: ReplayState
    rate: float | None
    canary: int
    canary_until: int
    edit: Edit
    total: int
    due_at: datetime | None
    moved_at: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class _Begun:
    """A step whose rows are marked, and not enqueued."""

    taken: _Taken
    batch: Batch


def advance(
    engine: Engine,
    partitions: Partitions,
    replay_id: int,
    *,
    step_number: int,
    now: Callable[[], datetime],
    lease: timedelta,
) -> Step:
    """Advance a plan by one step, and by those after it that are due at once.

    Args:
        engine: The database.
        partitions: The broker's Redis.
        replay_id: The plan.
        step_number: Which step this is. A step that was done already is not done again.
        now: The time, by the clock that all share.
        lease: The lease on the step; after it another process takes over.

    Raises:
        redis.RedisError, DeadLetterStoreUnavailable: It is unavailable. A later call does the step again.
    """
    partitions.ping()  # before rows are marked: while it is unavailable no row is marked
    with translated(), engine.begin() as connection:
        step = _begin(connection, replay_id, step_number, now(), lease)
    for more in reversed(range(_AT_A_STRETCH)):
        if not isinstance(step, _Begun):
            break
        gone = _enqueued(engine, partitions, step)
        with translated(), engine.begin() as connection:
            done = _confirm(connection, step.taken, step.batch, gone, now())
            again = more and isinstance(done, NextStep) and not done.after
            step = _begin(connection, replay_id, step.taken.step_number + 1, now(), lease) if again else done
    return cast("Step", step)


def _begin(connection: Connection, replay_id: int, step_number: int, at: datetime, lease: timedelta) -> Step | _Begun:
    """Take the plan's lease, and mark the rows that go."""
    if (taken := _take(connection, replay_id, step_number, at, lease)) is None:
        return StepTaken()
    if taken.due_at is not None and (early := taken.due_at - at) > _EARLY:
        _release(connection, taken, due=taken.due_at, step_number=step_number)
        return NextStep(step_number=step_number, after=early)
    taken, todo = _decide(connection, taken)
    return _Begun(taken, todo) if isinstance(todo, Batch) else todo


def _enqueued(engine: Engine, partitions: Partitions, begun: _Begun) -> frozenset[int]:
    """Enqueue the rows that were marked, and return those that have gone; a failure ends the lease."""
    try:
        return _carry_out(partitions, begun.taken, begun.batch)
    except redis.RedisError:
        due = begun.taken.at + _AFTER_A_FAILURE
        with suppress(DeadLetterStoreUnavailable), translated(), engine.begin() as connection:
            _release(connection, begun.taken, due=due, step_number=begun.taken.step_number)
        raise


def _take(connection: Connection, replay_id: int, step_number: int, at: datetime, lease: timedelta) -> _Taken | None:
    """Take the plan's lease. It locks the plan until the transaction ends, and in SQLite everything."""
    free = or_(Replay.leased_until.is_(None), Replay.leased_until < at)
    mine = (Replay.id == replay_id, Replay.step_number == step_number, Replay.closed_at.is_(None), free)
    changed = connection.execute(update(Replay).where(*mine).values(leased_until=at + lease))
    if not cast("CursorResult[Any]", changed).rowcount:
        return None
    plan = connection.execute(select(Replay).where(Replay.id == replay_id)).one()
    names = ("id", "name", "step_number", "state", "rate", "canary", "canary_until", "total", "due_at", "moved_at")
    edit = Edit(org=plan.set_org, group=plan.set_group)
    return _Taken(**{name: getattr(plan, name) for name in names}, edit=edit, at=at)


def _decide(connection: Connection, taken: _Taken) -> tuple[_Taken, Batch | NextStep | ReplayEnded]:
    """Do what the database alone can do, and return what is left."""
    while True:
        move = next_move(_standing(connection, taken))
        match move:
            case Become():
                taken = _become(connection, taken, move)
            case Enqueue():
                bounds: dict[str, Any] = {"below": _bound(taken), "size": rows_at_once(taken.rate), "at": taken.at}
                return taken, chunks.mark(connection, taken.id, taken.name, edit=taken.edit, **bounds)
            case Await():
                wait = look_again(moved_at=taken.moved_at, now=taken.at)
                return taken, replace(_next(connection, taken, due=taken.at + wait, after=wait), waits=True)
            case Rest():
                _release(connection, taken, due=None, step_number=taken.step_number)
                return taken, ReplayEnded()
            case Close():
                return taken, chunks.cut_short(connection, taken.id)
            case _:
                assert_never(move)


def _standing(connection: Connection, taken: _Taken) -> Standing:
    def any_row(*states: RowState) -> bool:
        row = (ReplayRow.replay_id == taken.id, ReplayRow.state.in_(states), ReplayRow.position < _bound(taken))
        return connection.execute(select(ReplayRow.position).where(*row).limit(1)).first() is not None

    active = taken.state in ACTIVE
    return Standing(
        state=taken.state,
        canary=taken.canary,
        canary_until=taken.canary_until,
        total=taken.total,
        to_go=active and any_row(*TO_GO),
        under_way=active and any_row(RowState.ENQUEUED),
        delivered=active and any_row(RowState.DELIVERED),
        died=_death(connection, taken) if taken.state is ReplayState.CANARY else None,
    )


def _death(connection: Connection, taken: _Taken) -> Death | None:
    dead = (ReplayRow.replay_id == taken.id, ReplayRow.state == RowState.DEAD, ReplayRow.position < _bound(taken))
    query = (
        select(ReplayRow.dead_letter_id, ReplayRow.fingerprint, DeadLetter.fingerprint.label("now"), DeadLetter.summary)
        .outerjoin(DeadLetter, DeadLetter.id == ReplayRow.dead_letter_id)
        .where(*dead)
        .order_by(ReplayRow.position)
    )
    deaths = [
        Death(
            dead_letter_id=row.dead_letter_id,
            same_fingerprint=row.now == row.fingerprint,
            summary=row.summary or "its dead letter is gone",
        )
        for row in connection.execute(query)
    ]
    return next((death for death in deaths if death.same_fingerprint), deaths[0] if deaths else None)


def _bound(taken: _Taken) -> int:
    """The position behind the last row that may go now."""
    return taken.canary_until if taken.state is ReplayState.CANARY else taken.total


def _become(connection: Connection, taken: _Taken, move: Become) -> _Taken:
    values: dict[str, Any] = {"state": move.state, "canary_until": move.canary_until}
    if taken.state is ReplayState.PLANNED:
        values["started_at"] = taken.at
    elif taken.state is ReplayState.CANARY and move.state is ReplayState.RUNNING:
        values["canary_passed_at"] = taken.at
    if move.state not in ACTIVE:
        values |= {"ended_at": taken.at, "stopped_because": move.because}
    connection.execute(update(Replay).where(Replay.id == taken.id).values(values))
    return replace(taken, state=move.state, canary_until=move.canary_until)


def _carry_out(partitions: Partitions, taken: _Taken, chunk: Batch) -> frozenset[int]:
    """Do what Redis has to do, and return the rows that have gone.

    A replay begins with a new envelope: an exhausted event would be dead on arrival with its old attempts and age.

    Where one partition refuses, the others have their rows by then, which don't go again. The rows of a plan that has
    ended are asked for everywhere: to which partition they belong their dead letters say, and those may be gone.
    """
    if taken.state not in ACTIVE:
        unsure = partitions.ask_all(lambda client: withhold(client, taken.name, chunk.unsure))
        return frozenset().union(*unsure)
    messages: dict[int, dict[int, bytes]] = {}
    for row_id, event in chunk.events.items():
        envelope: dict[str, Any] = {"dead_letter": row_id, "replay": taken.name}
        message = to_message(event, enqueued_at=taken.at, envelope=envelope, priority=PRIORITY)
        messages.setdefault(partitions.number_of(event.request_id), {})[row_id] = message
    of_prefix = {prefix_of(partitions[number]): rows for number, rows in messages.items()}
    gone = partitions.ask_all(
        lambda client: enqueue(client, taken.name, of_prefix[prefix_of(client)]), only=messages.keys()
    )
    return frozenset().union(*gone)


def _confirm(connection: Connection, taken: _Taken, chunk: Batch, gone: frozenset[int], at: datetime) -> Step:
    # The plan before its rows, as `_take` does: two steps at once must not wait for each other in a ring.
    if taken.state not in ACTIVE:
        connection.execute(update(Replay).where(Replay.id == taken.id).values(closed_at=at, leased_until=None))
        chunks.confirm(connection, taken.id, taken.name, gone, at=at)
        chunks.take_back(connection, taken.id, taken.name, set(chunk.unsure) - gone, edit=taken.edit)
        return ReplayEnded()
    due = next_due(due=taken.due_at, now=taken.at, went=len(chunk.events), rate=taken.rate)
    step = _next(connection, taken, due=due, after=max(due - at, timedelta()), moved_at=at)
    chunks.confirm(connection, taken.id, taken.name, gone, at=at)
    return step


def _next(connection: Connection, taken: _Taken, *, due: datetime, after: timedelta, **values: datetime) -> NextStep:
    _release(connection, taken, due=due, step_number=taken.step_number + 1, **values)
    return NextStep(step_number=taken.step_number + 1, after=after)


def _release(
    connection: Connection, taken: _Taken, *, due: datetime | None, step_number: int, **values: datetime
) -> None:
    """Release the lease, unless another process has it by now."""
    mine = (Replay.id == taken.id, Replay.step_number == taken.step_number)
    released: dict[str, Any] = {"step_number": step_number, "due_at": due, "leased_until": None, **values}
    connection.execute(update(Replay).where(*mine).values(released))
