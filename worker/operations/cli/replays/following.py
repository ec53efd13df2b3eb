"""Following a plan from the command line, which advances it as a worker would."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.database.errors import DeadLetterStoreUnavailable
from worker.dead_letters.replays.queries import find
from worker.dead_letters.replays.step import NextStep
from worker.operations.cli.connections import broker_outage, outage

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from sqlalchemy import Engine

    from worker.dead_letters.replays.advancer import Advancer
    from worker.dead_letters.replays.queries import Plan

__all__ = ["Followed", "follow"]

_LOOK_EVERY: Final = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How following a plan ended.

    Attributes:
        plan: The plan as it was last seen.
        interrupted: Whether it was asked to end.
        alone: Whether no worker runs that takes the steps which the plan waits for.
        failure: What can't be reached, as text.
    """

    plan: Plan
    interrupted: bool = False
    alone: bool = False
    failure: str | None = None


def follow(engine: Engine, advancer: Advancer, plan: Plan, *, stop: Event, progress: Callable[[int], None]) -> Followed:
    """Follow a new plan until it has ended, or until it waits for a worker and none runs.

    Its steps are done here as long as this lasts: they need no worker, and begin at once.

    Args:
        engine: The database.
        advancer: What does a step.
        plan: The plan.
        stop: Set it to end after the step at hand; workers take the plan up.
        progress: Called with how many rows have had their turn.
    """
    step_number: int | None = plan.step_number
    try:
        while plan.is_active:
            step = None if step_number is None else advancer.advance(plan.id, step_number)
            step_number = (
                step.step_number if isinstance(step, NextStep) else dict(advancer.overdue(only=plan.id)).get(plan.id)
            )
            plan = find(engine, plan.id)
            progress(plan.progress.gone + plan.progress.left_out)
            waits = step.waits if isinstance(step, NextStep) else step is not None
            if plan.is_active and waits and not advancer.workers_watch():
                return Followed(plan=plan, alone=True)
            pause = min(step.after, _LOOK_EVERY) if isinstance(step, NextStep) else _LOOK_EVERY
            if plan.is_active and stop.wait(pause.total_seconds()):
                return Followed(plan=plan, interrupted=True)
    except redis.RedisError as error:
        return Followed(plan=plan, failure=broker_outage(error))
    except DeadLetterStoreUnavailable as error:
        return Followed(plan=plan, failure=outage(error))
    return Followed(plan=plan)
