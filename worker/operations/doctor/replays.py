"""Replays that do not go on: paused, or stopped by a canary with rows that were not sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from worker.database.errors import DeadLetterError
from worker.database.replay_models import ReplayState
from worker.dead_letters.replays.queries import count_left_dead, plans
from worker.operations.connections import checked_database
from worker.operations.doctor.finding import Finding, green, yellow
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from worker.dead_letters.replays.queries import Plan
    from worker.settings import Settings

__all__ = ["look_at_replays"]

_LOOKED_AT: Final = 50
"""Of the latest replays: who pauses more, or stops more, knows of it."""

_CHECK: Final = "replays"


def look_at_replays(settings: Settings) -> Iterator[Finding]:
    """Check the replays. Of a database that is unavailable nothing is said here."""
    try:
        with checked_database(settings) as engine:
            found = [_waits(engine, plan) for plan in plans(engine, limit=_LOOKED_AT)]
    except DeadLetterError:
        return
    waiting = [finding for finding in found if finding is not None]
    yield from waiting or [green(_CHECK, "none is paused, and none was stopped with rows that are still dead")]


def _waits(engine: Engine, plan: Plan) -> Finding | None:
    if plan.state is ReplayState.PAUSED:
        since = "" if plan.moved_at is None else f" since {span(datetime.now(UTC) - plan.moved_at)}"
        summary = f"replay {plan.id} by {plan.actor} is paused{since}; {plan.progress.waiting:,} rows wait"
        fix = f"`aquilax-feedback replays resume {plan.id}`, or `aquilax-feedback replays cancel {plan.id}`"
        return yellow(_CHECK, summary, fix=fix)
    if plan.state is ReplayState.STOPPED and (left := count_left_dead(engine, plan.id)):
        summary = f"replay {plan.id} was stopped ({plan.stopped_because}), and {left:,} of its rows are still dead"
        fix = f"`aquilax-feedback replays show {plan.id}` says why; fix that, then replay the rest, or discard it"
        return yellow(_CHECK, summary, fix=fix)
    return None
