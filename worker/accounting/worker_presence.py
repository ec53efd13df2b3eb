"""Whether a worker is at work on what waits: by the leases, which end soon after their worker has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from worker.accounting.lease_holders import LeaseHolder, merged_holders
from worker.accounting.snapshot import text_of
from worker.broker.keys import broker_keys
from worker.policy.durations import span

if TYPE_CHECKING:
    import redis

    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions

__all__ = ["NoWorker", "living_leases", "no_worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorker:
    """No worker is alive: what was seen, and what to do."""

    summary: str
    fix: str


def no_worker(snapshot: Snapshot) -> NoWorker | None:
    """Return what is to be said if all workers are dead, or there is none while something waits; else None."""
    if snapshot.alive or not (snapshot.waiting or snapshot.dead):
        return None
    places = {"queued": snapshot.queued, "in flight": snapshot.in_flight, "scheduled": snapshot.scheduled}
    waits = ", ".join(f"{number:,} {place}" for place, number in places.items() if number)
    summary = f"no worker is alive; {waits}, and nothing is delivered" if waits else "no worker is alive"
    fix = "start one (`celery -A worker worker`)"
    if snapshot.dead:
        held = sum(lease.holds for lease in snapshot.dead)
        last = min(-lease.lease_left for lease in snapshot.dead)
        summary += f"; {len(snapshot.dead)} dead, the last one's lease ended {span(last)} ago"
        fix += f": it returns the {held:,} that the dead ones hold to the queue" if held else ""
    return NoWorker(summary=summary, fix=f"{fix}; if one runs, it hangs or reaches another Redis: look in its log")


def living_leases(partitions: Partitions) -> tuple[LeaseHolder, ...]:
    """Return the leases that last, by Redis' clock, without a look at what waits; of each process one.

    Raises:
        redis.RedisError: No partition can be asked: each worker has a lease in every one that it consumes.
    """
    answers = partitions.ask(_living, within=partitions.patience)
    if not answers.of:
        answers.all(count=len(partitions))
    found = [lease for leases in answers.of.values() for lease in leases]
    return tuple(found) if len(partitions) == 1 else merged_holders(found)


def _living(client: redis.Redis) -> tuple[LeaseHolder, ...]:
    with client.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(broker_keys(client).leases, 0, -1, withscores=True)
        (seconds, microseconds), leases = pipe.execute()
    now = seconds * 1000 + microseconds / 1000
    found = (
        LeaseHolder(name=text_of(name), holds=0, lease_left=timedelta(milliseconds=until - now))
        for name, until in leases
    )
    return tuple(lease for lease in found if lease.is_alive)
