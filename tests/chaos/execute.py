"""One run from beginning to end: the system is started, the scenario played, the rest drained, and all of it judged."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from tests.chaos.logs import unexplained
from tests.chaos.outcome import Outcome, compare, dead_request_ids, examples
from tests.chaos.run import GaveUp, Run
from tests.chaos.system import System
from tests.chaos.watch import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.scenario import Scenario
    from tests.chaos.system import Server

__all__ = ["execute"]


def execute(scenario: Scenario, make: str, *, folder: Path, short: bool, plain: bool) -> Outcome:
    """Run a scenario, and return what it came to.

    Args:
        scenario: What is done.
        make: ``valkey`` or ``redis``.
        folder: A new one, for everything that is written.
        short: The short form.
        plain: Hurt plain Celery instead.
    """
    began = time.monotonic()
    outcome = Outcome(scenario=scenario.name, server=make, plain=plain, folder=str(folder))
    run: Run | None = None
    try:
        with ExitStack() as outlasting, System(folder=folder) as system, ExitStack() as opened:
            system.environment |= scenario.environment
            server = system.start_server(make, options=scenario.server_options)
            outcome.server = _version(server, make)
            system.create_database()
            sandbox = opened.enter_context(closing(system.start_sandbox(scenario.sandbox_flags)))
            progress = opened.enter_context(Progress(system.environment["AQUILAX_BASE_URL"]))
            run = Run(
                system=system,
                make=make,
                server=server,
                broker=server,
                sandbox=sandbox,
                progress=progress,
                events=scenario.short_events if short else scenario.events,
                short=short,
                plain=plain,
                patience=scenario.patience,
                outlasting=outlasting,
            )
            try:
                scenario.play(run)
            except GaveUp as error:
                run.failures.append(str(error))
            outcome.drained = run.drain()
            _settle(run, outcome)
            if not plain and outcome.first is not None:
                words = f"{outcome.first:.1f} s until the next delivery, which is more than {scenario.recovers:g} s"
                run.require(outcome.first <= scenario.recovers, words)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever it was, it is this run's result
        outcome.failures.append(f"{type(error).__name__}: {error}")
    if run is not None:
        outcome.failures += run.failures
        outcome.notes += run.notes
        outcome.gaps = run.gaps
        _read_logs(run, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _settle(run: Run, outcome: Outcome) -> None:
    acknowledged = run.all_acknowledged
    dead = dead_request_ids(run.system.environment["FEEDBACK_DATABASE_URL"])
    found = compare(acknowledged, dead, run.sandbox, gave_up=run.gave_up, words=run.words)
    outcome.events = len(acknowledged)
    outcome.dead = len(dead.intersection(acknowledged))
    outcome.faults = run.faults
    outcome.lost = [*found.lost, *found.wrong]
    outcome.duplicates = len(found.repeated)
    outcome.allowed = len(run.in_flight)
    if run.over_at is not None:
        outcome.first = run.progress.first_after(run.over_at)
    run.require(not found.lost, f"{len(found.lost)} lost: {examples(found.lost)}")
    run.require(not found.wrong, f"{len(found.wrong)} arrived as the other word: {examples(found.wrong)}")
    allowed = run.in_flight | run.refused
    too_many = [each for each in found.repeated if each not in allowed]
    run.require(not too_many, f"{len(too_many)} arrived twice that were not in flight at a fault: {examples(too_many)}")
    run.require(acknowledged, "nothing was enqueued")
    if not run.plain:
        run.books()


def _read_logs(run: Run, outcome: Outcome) -> None:
    if run.system.ended:
        words = f"{len(run.system.ended)} workers ended by themselves"
        (outcome.notes if run.plain else outcome.failures).append(words)
    if not run.plain:
        strange = unexplained(run.system.folder)
        outcome.failures += [
            f"{count} times in the logs, and not explained: {words}" for words, count in strange.items()
        ]


def _version(server: Server, make: str) -> str:
    with closing(server.client()) as client:
        info = client.info("server")
    return f"{make} {info.get('valkey_version') or info['redis_version']}"
