"""Workers that end: without a word at any moment, and in good order."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]


def _killed_at_full_load(run: Run) -> None:
    """Kill -9 of one worker after another, at any moment, while more is queued than they can deliver."""
    chance = random.Random(1)
    workers = run.start_workers(2)
    with run.full_load():
        for _ in range(2 if run.short else 15):
            run.pause(chance.uniform(0.2, 1))
            run.kill_worker(workers.pop(0))
            workers.append(run.system.await_worker(run.launch_worker()))


def _killed_between_fetch_and_start(run: Run) -> None:
    """A worker that stands still is pushed events, and is killed: what was handed to it, it has not begun."""
    rounds = 1 if run.short else 8
    for _ in range(rounds):
        (worker,) = run.start_workers(1)
        run.eventually(lambda: not run.left(), within=run.patience, what="it has nothing to do")
        run.wanted = 0
        time.sleep(1)  # it waits for messages now
        with run.system.frozen(worker):
            with run.load(run.events // rounds):
                pass
            run.note_in_flight()
            run.system.kill(worker)
        run.faults += 1
        run.over()
    run.start_workers(1)


def _killed_with_a_full_hand(run: Run) -> None:
    """A worker has fetched as much as it may and is busy with the first of it when it is killed."""
    for _ in range(1 if run.short else 4):
        with run.load(run.events // (1 if run.short else 4)):
            pass
        (worker,) = run.start_workers(1)
        run.wanted = 0
        _await_deliveries(run)
        run.kill_worker(worker)
    run.start_workers(2)


def _frozen(run: Run) -> None:
    """A worker stands still for 30 s, longer than its lease, and goes on: others have taken over what it held."""
    run.start_workers(2)
    with run.full_load():
        run.pause(2)
        with run.fault():
            worker = run.system.workers()[0]
        with run.system.frozen(worker):
            run.note_in_flight()
            run.pause(30)
        run.over()


def _await_deliveries(run: Run) -> None:
    before = run.progress.delivered
    run.eventually(lambda: run.progress.delivered > before, what="it delivers")


def _rolling_restart(run: Run) -> None:
    """SIGTERM to one worker after another under load: what runs is finished, the rest goes back."""
    workers = run.start_workers(2)
    with run.full_load():
        for _ in range(2 if run.short else 8):
            run.pause(0.5)
            run.wanted = 1
            run.system.stop(workers.pop(0))
            run.faults += 1
            run.over()
            workers += run.start_workers(1)


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="kill -9 of workers at full load",
        play=_killed_at_full_load,
        short=True,
        makes=("valkey", "redis"),
        plain=True,
        patience=180,
    ),
    Scenario(
        name="kill -9 between fetch and start",
        play=_killed_between_fetch_and_start,
        events=1600,
        short=True,
        short_events=200,
        makes=("valkey", "redis"),
        plain=True,
    ),
    Scenario(
        name="kill -9 with prefetched messages",
        play=_killed_with_a_full_hand,
        events=2000,
        plain=True,
        sandbox_flags=("--latency=0.2",),
    ),
    Scenario(name="a worker frozen for 30 s, longer than its lease", play=_frozen),
    Scenario(
        name="rolling restarts (SIGTERM) under load",
        play=_rolling_restart,
        plain=True,
    ),
)
