"""Chat backends that are killed in the middle of an `enqueue_many`."""

from __future__ import annotations

import random
import re
import sys
from typing import TYPE_CHECKING, Final

from tests.chaos.load import Numbers
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run
    from worker.sandbox.stack import Part

__all__ = ["SCENARIOS"]

_PREFIX: Final = "0bad{:04x}"


def _killed(run: Run) -> None:
    """Each backend is killed after a few chunks: what it was told is taken arrives, and what is counted arrived."""
    chance = random.Random(1)
    run.start_workers(2)
    backends = 2 if run.short else 5
    each = run.events // backends
    for number in range(backends):
        prefix = _PREFIX.format(number)
        command = [sys.executable, "-m", "tests.chaos.backend", run.server.url, prefix, str(10 * each)]
        part = run.system.launch(f"backend-{number}", command)
        after = chance.randrange(each // 2, each)
        run.eventually(lambda part=part, after=after: _taken(part) >= after, what="chunks are taken")  # type: ignore[misc]  # mypy can't infer a lambda with defaults
        run.system.kill(part)
        run.faults += 1
        run.over()
        run.acknowledged += Numbers(prefix).take(_taken(part))
    run.drain()
    counts = run.counts()
    arrived = run.sandbox.received().delivered
    taken = len(run.acknowledged)
    run.notes.append(f"{taken:,} were told to be taken, {arrived:,} arrived")
    if "accepted" in counts:
        run.require(counts["accepted"] == arrived, f"{counts['accepted']:,} counted as accepted, {arrived:,} arrived")


def _taken(part: Part) -> int:
    """How many events Redis has acknowledged, as far as the backend could say."""
    numbers = re.findall(r"^taken (\d+)$", part.said(), re.MULTILINE)
    return int(numbers[-1]) if numbers else 0


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(name="kill -9 of a backend in enqueue_many", play=_killed, events=10_000, short=True, short_events=1200),
)
