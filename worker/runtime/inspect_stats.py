"""What a worker tells of itself in ``celery inspect stats``: its release, and the settings that all should share."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from celery import bootsteps

from producer import __version__
from worker.database.engine import shown
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

    from worker.broker.lease_state import SharedLeaseState
    from worker.clients.aquilax.key_reload import ReloadedKeys
    from worker.settings import Settings

__all__ = ["ABOUT", "DELIVERIES_AT_ONCE", "IN_FLIGHT", "KEYS_FILE", "InspectStats", "inspect_stats"]

ABOUT: Final = "feedback"
"""The key in a worker's ``stats``."""

IN_FLIGHT: Final = "in_flight"
"""The key in that of what the worker has in flight."""

DELIVERIES_AT_ONCE: Final = "deliveries_at_once"
"""There: how many it has file descriptors for, if for fewer than it is to deliver."""

KEYS_FILE: Final = "keys_file"
"""There: the names of the keys for single orgs, and what is wrong with their file, if a worker has one."""

_SHARED: Final = (
    "aquilax_base_url",
    "feedback_max_attempts",
    "feedback_retry_base",
    "feedback_retry_cap",
    "feedback_retry_horizon",
    "feedback_request_timeout",
    "feedback_idempotency_ttl",
    "feedback_lease",
)
"""An event is begun by one worker and ended by another: they have to agree on these."""


def inspect_stats(settings: Settings) -> dict[str, Any]:
    """Return what a program of these settings tells of itself: values that JSON can carry, and no secret."""
    values = {name.upper(): getattr(settings, name) for name in _SHARED}
    shared = {name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in values.items()}
    database = shown(settings.feedback_database_url.get_secret_value())
    return {"version": __version__, "settings": {**shared, "FEEDBACK_DATABASE_URL": database}}


class InspectStats(bootsteps.StartStopStep):
    """Adds to ``inspect stats``."""

    def info(self, consumer: Consumer) -> dict[str, Any]:
        """What ``celery inspect stats`` shows, and Flower's page of the worker."""
        parts = container_of(consumer.app)
        short = {} if parts.room is None else {DELIVERIES_AT_ONCE: parts.room.most}
        file = {} if parts.settings.aquilax_keys_file is None else {KEYS_FILE: _keys(parts.keys)}
        return {ABOUT: {**inspect_stats(parts.settings), IN_FLIGHT: _in_flight(parts.leases), **short, **file}}


def _in_flight(shared: SharedLeaseState) -> dict[str, float]:
    """How many messages this process has in flight, and for how many seconds none of them has ended."""
    holders, now = shared.in_use, time.monotonic()
    longest = max((holder.without_end(now) for holder in holders), default=0.0)
    return {"messages": sum(holder.held for holder in holders), "without_end": round(longest, 1)}


def _keys(keys: ReloadedKeys) -> dict[str, Any]:
    ring = keys.ring
    return {
        "keys": {key.name: len(key.orgs) for key in ring.named},
        "default": ring.default.secret is not None,
        "problem": keys.problem_now(),
    }
