"""The dead-letter database is killed and restarted while events die."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos.postgres import postgres
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]


def _killed_and_restarted(run: Run) -> None:
    """PostgreSQL is killed, comes back, is stopped in good order, and comes back; every dead letter is written once."""
    server = run.keep(postgres(run.system))
    run.start_workers(2)
    with run.load():
        for end in (run.system.kill, run.system.stop):
            run.pause(3)
            end(server.part)
            run.faults += 1
            run.pause(5)
            server.restart()
            run.over()


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="dead-letter database killed and restarted",
        play=_killed_and_restarted,
        events=4000,
        sandbox_flags=("--latency=0.02", "--unknown-share=0.3"),
    ),
)
