"""Metrics of single orgs: which are held, what is set aside, and whether the file of keys can be used."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.delivery.hold import HoldKind
from worker.observability.looking import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from worker.accounting.held_orgs import HeldOrgs

__all__ = ["OfKeysFile", "OfOrgs"]


class OfOrgs(Collector):
    """The holds of single orgs and keys, the same for all workers.

    Args:
        look: Looks into Redis.
    """

    def __init__(self, look: Callable[[], HeldOrgs]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none while Redis can't be asked, which `OfQueue` tells."""
        held = looked_at(self._look, "the holds of orgs")
        if held is None:
            return
        kinds = Counter(hold.state.kind for hold in held.holds)
        holds = GaugeMetricFamily(
            "aquilax_feedback_org_holds", "Orgs, and keys of orgs, that are held, by why that is so.", labels=["kind"]
        )
        for kind in (HoldKind.LOCKED_OUT, HoldKind.OPERATOR):
            holds.add_metric([kind.value], float(kinds[kind]))
        yield holds
        yield GaugeMetricFamily(
            "aquilax_feedback_set_aside_messages",
            "Scheduled messages that wait for the end of such a hold.",
            value=float(sum(held.set_aside.values()) + held.going_back),
        )


class OfKeysFile(Collector):
    """Whether the file of AquilaX' keys can be used as it stands now.

    Args:
        problem: Returns why it can't; '' if it can.
    """

    def __init__(self, problem: Callable[[], str]) -> None:
        self._problem = problem

    def collect(self) -> Iterator[Metric]:
        """Yield the metric."""
        yield GaugeMetricFamily(
            "aquilax_feedback_keys_file_usable",
            "0 while AQUILAX_KEYS_FILE can't be used: the keys of before stay in use.",
            value=float(not self._problem()),
        )
