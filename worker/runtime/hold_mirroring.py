"""Workers mirror the hold into all partitions: at once where they begin or end it, and one of them now and then."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.clients.redis.connections import broker_partitions
from worker.clients.redis.keys import feedback_keys
from worker.delivery.hold_mirrors import HoldMirrors
from worker.runtime.background_step import BackgroundStep, first_in_period
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker import WorkController

    from worker.delivery.hold import HoldState

__all__ = ["HoldMirroring"]

log = logging.getLogger(__name__)

_EVERY: Final = timedelta(seconds=0.5)
_IDLE: Final = 5.0
"""Seconds for which the other partitions are not asked while no hold stands. A mirror outlasts its hold for so long if
the worker that ended the hold died just then."""

_PATIENCE: Final = 1.0
"""Seconds to wait for a partition's server: the other partitions follow meanwhile, but after it."""


class HoldMirroring(BackgroundStep):
    """A thread that mirrors the hold, where there are several partitions."""

    def run(self, worker: WorkController) -> None:
        """Mirror again and again."""
        container = container_of(worker.app)
        with closing(broker_partitions(container.settings, patience=_PATIENCE, retries=0)) as partitions:
            if len(partitions) == 1:
                return
            mirroring = _Mirroring(HoldMirrors(partitions))
            while not self._stop.is_set():
                changed = container.hold_changed.wait(_EVERY.total_seconds())
                container.hold_changed.clear()
                try:
                    key = feedback_keys(partitions.home).hold_mirrored
                    if changed or first_in_period(partitions.home, key, _EVERY * 0.9, worker=worker.hostname):
                        mirroring.look(changed=changed)
                except redis.RedisError as error:
                    log.debug("the hold is mirrored later: %s", error)
                except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
                    log.warning("the hold is not mirrored this time: %s: %s", type(error).__name__, error)

    def close(self, worker: WorkController) -> None:
        """End after what is being done."""
        super().close(worker)
        container_of(worker.app).hold_changed.set()


class _Mirroring:
    """Mirrors what there is; where nothing stood and nothing stands, the other partitions are seldom asked."""

    def __init__(self, mirrors: HoldMirrors) -> None:
        self._mirrors = mirrors
        self._idle_until = 0.0

    def look(self, *, changed: bool) -> None:
        state = self._mirrors.state()
        if state is None and not changed and time.monotonic() < self._idle_until:
            return
        all_follow = self._mirrors.follow(state)
        if state is None and all_follow:
            self._idle_until = time.monotonic() + _IDLE
        else:
            self._idle_until = 0.0
        if state is not None and _is_probe_due(state):
            self._mirrors.lend_probe()


def _is_probe_due(state: HoldState) -> bool:
    """Whether a probe may be due; Redis' own clock decides."""
    return state.probe_at is not None and state.probe_at <= datetime.now(UTC) + timedelta(seconds=1)
