"""Two workers of one name: what is said to one of them by remote control, or in Flower, reaches both. So it is told."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.worker_presence import living_leases
from worker.broker.lease_scripts import process_id
from worker.clients.redis.connections import broker_partitions
from worker.runtime.background_step import BackgroundStep
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery.worker import WorkController

    from worker.settings import Settings

__all__ = ["DuplicateNodenames"]

log = logging.getLogger(__name__)

_PATIENCE: Final = 2.0
_FIX: Final = (
    "give each a name of its own (-n second@%h), as what is said to one by remote control or in Flower reaches both"
)


class DuplicateNodenames(BackgroundStep):
    """Looks for another worker of the same name: at the start, and once more when a lease of before has surely ended.

    It only warns. A worker that is started again at once after a `kill -9` finds the lease of before, and would be
    refused; and of two that start together neither is there first.
    """

    def run(self, worker: WorkController) -> None:
        """Look, and warn; no start waits for it."""
        settings, node = container_of(worker.app).settings, worker.hostname
        lease = settings.feedback_lease.total_seconds()
        for other in _others(settings, node):
            seen = f"({other}), or was until a moment ago: if it was killed, its lease ends within {lease:.0f} s and"
            log.warning("another worker is called %s %s all is well; else %s", node, seen, _FIX)
        if self._stop.wait(2 * lease):
            return
        for other in _others(settings, node):
            log.warning("another worker is called %s and is at work (%s): %s", node, other, _FIX)


def _others(settings: Settings, node: str) -> Iterator[str]:
    """The other processes that have a lease under this name."""
    try:
        with closing(broker_partitions(settings, patience=_PATIENCE, retries=0)) as partitions:
            leases = living_leases(partitions)
    except redis.RedisError as error:
        log.debug("who else has this worker's name can't be told: %s", error)
        return
    yield from sorted({lease.process for lease in leases if lease.node == node} - {process_id()})
