"""What an operator says of a plan: pause, resume, cancel. Each is written down with who said so, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import CursorResult, Engine, update

from worker.database.audit_log import write_action
from worker.database.errors import translated
from worker.database.replay_models import Replay, ReplayState
from worker.dead_letters.replays.errors import NotPossible
from worker.dead_letters.replays.policy import ReplayOrder, after_order
from worker.dead_letters.replays.queries import Plan, read_plan

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["cancel", "pause", "resume"]

_TRIES: Final = 5
"""Attempts: the plan may be changed while it is read, but not five times in a row."""


def pause(engine: Engine, replay_id: int, *, actor: str, comment: str = "") -> Plan:
    """Let no more rows of a plan go until it is resumed; the chunk that is just being enqueued still does.

    Raises:
        NoSuchReplay: There is none of this number.
        NotPossible: It is paused already, or has ended.
        DeadLetterStoreUnavailable: The database did not do it.
    """
    return _steer(engine, replay_id, ReplayOrder.pause(), actor=actor, comment=comment)


def resume(engine: Engine, replay_id: int, *, actor: str, comment: str = "") -> Plan:
    """Let a paused plan go on; arguments and errors are those of `pause`."""
    return _steer(engine, replay_id, ReplayOrder.resume(), actor=actor, comment=comment)


def cancel(engine: Engine, replay_id: int, *, actor: str, comment: str = "") -> Plan:
    """End a plan: no more of its rows go, and they stay dead; arguments and errors are those of `pause`.

    What has gone is delivered all the same, and its outcome is still written down.
    """
    return _steer(engine, replay_id, ReplayOrder.cancel(), actor=actor, comment=comment)


def _steer(engine: Engine, replay_id: int, order: ReplayOrder, *, actor: str, comment: str) -> Plan:
    for _ in range(_TRIES):
        with translated(), engine.begin() as connection:
            plan = read_plan(connection, replay_id)
            if plan.state not in order.allowed:
                raise NotPossible(f"replay {replay_id} is {plan.state.value}: it can't be {_PAST[order.name]}")
            if _changed(connection, plan, order):
                target = f"replay {replay_id}"
                write_action(connection, actor=actor, action=f"replay.{order.name}", target=target, comment=comment)
                return read_plan(connection, replay_id)
    raise NotPossible(f"replay {replay_id} changes all the time: try again")


def _changed(connection: Connection, plan: Plan, order: ReplayOrder) -> bool:
    state = after_order(
        order,
        canary=plan.canary,
        started=plan.started_at is not None,
        canary_passed=plan.canary_passed_at is not None,
    )
    # Due at once, the next process that looks takes it up; but one that is to begin later stays so.
    values: dict[str, Any] = {"state": state, "due_at": plan.begins_at if state is ReplayState.PLANNED else None}
    if order.name == "cancel":
        values["ended_at"] = datetime.now(UTC)
    same = (Replay.id == plan.id, Replay.state == plan.state)
    changed = connection.execute(update(Replay).where(*same).values(values))
    return bool(cast("CursorResult[Any]", changed).rowcount)


_PAST: Final = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}
