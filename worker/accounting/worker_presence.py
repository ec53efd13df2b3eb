"""Whether a worker is at work on what waits: by the leases, which end soon after their worker has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.policy.durations import span

if TYPE_CHECKING:
    from worker.accounting.snapshot import Snapshot

__all__ = ["NoWorker", "no_worker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorker:
    """No worker is alive.

    Attributes:
        summary: What was seen.
        fix: What to do.
    """

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
        held = sum(holder.holds for holder in snapshot.dead)
        last = min(-holder.lease_left for holder in snapshot.dead)
        summary += f"; {len(snapshot.dead)} dead, the last one's lease ended {span(last)} ago"
        fix += f": it returns the {held:,} that the dead ones hold to the queue" if held else ""
    return NoWorker(summary=summary, fix=f"{fix}; if one runs, it hangs or reaches another Redis: look in its log")
