"""The timer of replay plans: a plan that no worker advances is taken up again, so that no lost message strands it."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import redis
from kombu.exceptions import OperationalError

from worker.database.errors import DeadLetterStoreUnavailable
from worker.dead_letters.replays.queue import ADVANCE, REPLAYS
from worker.runtime.background_step import BackgroundStep
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery import Celery
    from celery.worker import WorkController

    from worker.dead_letters.replays.advancer import Advancer

__all__ = ["ReplayScheduler"]

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.5
"""Seconds. A new plan waits so long at most; the look is one small query."""


class ReplayScheduler(BackgroundStep):
    """Sends the next step of each plan that is overdue. A thread: the worker's event loop waits for no database.

    It has connections of its own, which no child of the pool inherits in use.
    """

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._was_away = False

    def run(self, worker: WorkController) -> None:
        """Watch, whenever this worker takes the steps of plans: `add_consumer` may change that."""
        with closing(container_of(worker.app).make_advancer()) as advancer:
            while True:
                if _takes_steps(worker):
                    self._look(worker.app, advancer)
                if self._stop.wait(_LOOK_EVERY):
                    return

    def _look(self, app: Celery, advancer: Advancer) -> None:
        try:
            advancer.say_watching()
            for replay_id, step_number in advancer.overdue():
                app.send_task(ADVANCE, (replay_id, step_number), queue=REPLAYS)
        except (redis.RedisError, OperationalError, DeadLetterStoreUnavailable) as error:
            if not self._was_away:
                log.warning("replay plans wait: %s", error)
            self._was_away = True
        except Exception:
            log.exception("replay plans wait because of a fault of ours")
        else:
            self._was_away = False


def _takes_steps(worker: WorkController) -> bool:
    consumer = getattr(getattr(worker, "consumer", None), "task_consumer", None)
    if consumer is None:  # it is being connected: then what it was started with counts
        return REPLAYS in worker.app.amqp.queues.consume_from
    return bool(consumer.consuming_from(REPLAYS))
