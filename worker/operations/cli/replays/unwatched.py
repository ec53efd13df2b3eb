"""Says it where replays wait for a worker that takes their steps, and none does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import redis

from worker.database.replay_models import ReplayState
from worker.dead_letters.replays.attendance import START_A_REPLAY_WORKER
from worker.dead_letters.replays.queue import REPLAYS, workers_watch
from worker.operations.cli.broker import broker
from worker.operations.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.dead_letters.replays.queries import Plan

__all__ = ["warn_if_unwatched"]


def warn_if_unwatched(plans: Sequence[Plan]) -> None:
    """Print a line on standard error if a plan waits for a worker and none takes its steps."""
    if not any(plan.is_active and plan.state is not ReplayState.PAUSED for plan in plans):
        return
    try:
        with broker() as client:
            watched = workers_watch(client)
    except redis.RedisError:
        return  # what Redis says is not known, and what the table says stands
    if not watched:
        say(f"no worker consumes {REPLAYS}: {START_A_REPLAY_WORKER}", err=True)
