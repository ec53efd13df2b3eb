"""What ``status`` says of the workers: who is alive, who is dead and what it still holds; of none, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from worker.accounting.worker_presence import no_worker
from worker.operations.cli.output import shown
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.accounting.snapshot import Snapshot
    from worker.dead_letters.replays.attendance import Attended

__all__ = ["replay_lines", "worker_lines"]


def worker_lines(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Yield each line with its label; those of single workers have none."""
    problem = no_worker(snapshot)
    if problem is not None:
        yield "workers", click.style(problem.summary, fg="red", bold=True)
        yield "", f"→ {problem.fix}"
    elif snapshot.alive:
        yield "workers", f"{snapshot.workers}, which hold {sum(holder.holds for holder in snapshot.alive):,}"
    else:
        yield "workers", "none"
    for holder in snapshot.alive:
        yield "", f"{shown(holder.name)} holds {holder.holds:,}, lease for {span(holder.lease_left)}"
    for holder in snapshot.dead:
        yield "", f"dead: {shown(holder.name)} holds {holder.holds:,}, lease ended {span(holder.lease_left)} ago"


def replay_lines(attended: Attended | None) -> Iterator[tuple[str, str]]:
    """Yield a line if replays have not ended, and what is wrong if no worker brings them forward."""
    if attended is None or not attended.active:
        return
    paused = f", {attended.paused:,} of them paused" if attended.paused else ""
    yield "replays", f"{attended.active:,} not ended{paused}"
    if attended.problem:
        yield "", click.style(attended.problem, fg="yellow", bold=True)
        yield "", f"→ {attended.fix}"
