"""Redis' data, beside what the database knows of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import redis

from worker.accounting.continuity import Kind, look_at_continuity
from worker.database.errors import DeadLetterError
from worker.operations.connections import broker_client, checked_database
from worker.operations.doctor.finding import green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.doctor.finding import Finding
    from worker.settings import Settings

__all__ = ["look_at_redis_data"]

_REDIS_PATIENCE = 2.0


def look_at_redis_data(settings: Settings) -> Iterator[Finding]:
    """Check that Redis has the data that it had, and the hold by hand; nothing is said if either is unavailable."""
    try:
        with (
            closing(broker_client(settings, patience=_REDIS_PATIENCE)) as client,
            checked_database(settings) as engine,
        ):
            found = look_at_continuity(client, engine)
    except (redis.RedisError, DeadLetterError):
        return
    if found.is_lost:
        fix = (
            "restore Redis' data if there is a later copy; else enqueue again what your backends still know, and take "
            "Redis as it is: `aquilax-feedback reconcile --repair`"
        )
        yield red("broker data", found.summary(), fix=fix)
    elif found.kind is Kind.MOVING:
        fix = "wait until `aquilax-feedback move` has ended; if it was cut short, run it again"
        yield yellow("broker data", "it is being moved to another Redis, or that was cut short", fix=fix)
    elif found.kind is Kind.SAME:
        yield green("broker data", "its totals go on from those that the database knows")
    else:
        yield green("broker data", "its totals are not in the database yet: a worker writes them down")
    if (lost := found.lost_hold) is not None:
        fix = "a worker lets it stand again within seconds; if none runs: `aquilax-feedback hold --comment …`"
        yield red("hold by hand", f"Redis has lost it: {lost.comment} (said by {lost.actor})", fix=fix)
