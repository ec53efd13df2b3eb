"""The short form of the chaos suite: few events, and only what is quick; `make chaos` is the whole of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import pytest

from tests.chaos.execute import execute
from tests.chaos.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.chaos.outcome import Outcome
    from tests.chaos.scenario import Scenario

_SHORT: Final = [scenario for scenario in SCENARIOS if scenario.short]
_AT_ONCE: Final = 4
"""Most of a run is waiting: for workers to start, and for leases to end."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Outcome]]]:
    """Every run, several at once."""

    def run(scenario: Scenario) -> Outcome:
        folder = tmp_path_factory.mktemp("chaos")
        return execute(scenario, scenario.makes[0], folder=folder, short=True, plain=False)

    tmp_path_factory.getbasetemp()  # two threads that ask first would both make it
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {scenario.name: pool.submit(run, scenario) for scenario in _SHORT}


@pytest.mark.parametrize("name", [scenario.name for scenario in _SHORT])
def test_nothing_is_lost_and_nothing_arrives_twice_that_was_not_in_flight(
    name: str, runs: dict[str, Future[Outcome]]
) -> None:
    """What Redis acknowledged is at AquilaX or in the dead-letter table in the end, whatever was done meanwhile."""
    outcome = runs[name].result(280)

    assert outcome.failures == [], f"logs: {outcome.folder}"
    assert outcome.events > 0
    assert outcome.faults > 0
