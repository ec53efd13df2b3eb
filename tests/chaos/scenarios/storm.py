"""A storm of 404: events die by the thousand, while workers and the dead-letter database are killed again and again."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from sqlalchemy import create_engine, select

from tests.chaos.postgres import postgres
from tests.chaos.scenario import Scenario
from worker.database.models import DeadLetter
from worker.policy.retry import Reason
from worker.sandbox.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.postgres import Postgres
    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]

_NOT_FOUND: Final = 404
_BETWEEN: Final = 300
"""Events that die between two faults."""


def _storm(run: Run) -> None:
    """Kill -9 at any moment: workers while rows are written, and while there is no database; the database as well."""
    chance = random.Random(1)
    database = run.keep(postgres(run.system))
    run.start_workers(2)
    with run.full_load():
        for _ in range(4):
            for _ in range(2):
                _await_deaths(run)
                _kill_a_worker(run, chance)
            _await_deaths(run)
            with run.fault():
                run.system.kill(database.part)
            _kill_a_worker(run, chance)
            run.pause(chance.uniform(1, 3))
            database.restart()
            run.over()
    run.drain()
    _judge(run, database)


def _await_deaths(run: Run) -> None:
    """Wait until enough more rows are counted that workers must be in the middle of writing others."""
    enough = _dead(run) + _BETWEEN
    run.eventually(lambda: _dead(run) >= enough, what=f"{_BETWEEN} more dead letters")


def _dead(run: Run) -> int:
    return run.counts().get("dead", 0)


def _kill_a_worker(run: Run, chance: random.Random) -> None:
    run.pause(chance.uniform(0.2, 1))
    run.kill_worker(chance.choice(run.system.workers()))
    run.launch_worker()


def _judge(run: Run, database: Postgres) -> None:
    """One row for each that died, all of 404, as many as were counted; and `reconcile` finds nothing wrong."""
    engine = create_engine(database.url)
    with engine.connect() as connection:
        found = connection.execute(select(DeadLetter.request_id, DeadLetter.reason, DeadLetter.http_status)).all()
    engine.dispose()
    rows, counted = Counter(row.request_id for row in found), _dead(run)
    doubled = [each for each, number in rows.items() if number > 1]
    others = [row for row in found if (row.reason, row.http_status) != (Reason.REJECTED, _NOT_FOUND)]
    # Killed between the release of its claim and its way back into the queue, an event has lost its outcome.
    run.refused.update(rows)
    run.require(found, "nothing died")
    run.require(not doubled, f"{len(doubled)} have several rows: {doubled[:5]}")
    run.require(not others, f"{len(others)} died of something else than 404: {others[:5]}")
    run.require(counted == len(found), f"{counted} are counted as dead, and there are {len(found)} rows")
    try:
        run.system.run("reconcile", "--json")
    except StackError as error:
        run.failures.append(str(error))


SCENARIOS: Final[Sequence[Scenario]] = tuple(
    Scenario(
        name=f"404 storm, {what}: kill -9 of workers and of the dead-letter database",
        play=_storm,
        sandbox_flags=("--latency=0.02", f"--unknown-share={share}"),
        patience=180,
    )
    for what, share in (("every event", 1), ("every second event", 0.5))
)
