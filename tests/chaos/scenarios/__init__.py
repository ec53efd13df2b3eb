"""Every scenario, in the order in which they are run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos.scenarios import (
    aquilax,
    backends,
    clocks,
    cluster,
    database_away,
    failover,
    gateways_killed,
    poison,
    redis_away,
    relays_killed,
    spooling,
    storm,
    workers_killed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.scenario import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: Final[Sequence[Scenario]] = (
    *workers_killed.SCENARIOS,
    *redis_away.SCENARIOS,
    *failover.SCENARIOS,
    *cluster.SCENARIOS,
    *database_away.SCENARIOS,
    *storm.SCENARIOS,
    *aquilax.SCENARIOS,
    *poison.SCENARIOS,
    *clocks.SCENARIOS,
    *backends.SCENARIOS,
    *relays_killed.SCENARIOS,
    *spooling.SCENARIOS,
    *gateways_killed.SCENARIOS,
)
