"""What Prometheus is told of notifications: how each receiver does, by what is known of it in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.observability.looking import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from worker.notifications.state import NotifierState

__all__ = ["OfNotifications"]


class OfNotifications(Collector):
    """The receivers; the same for all workers.

    Args:
        look: Returns what is known.
    """

    def __init__(self, look: Callable[[], NotifierState]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none while Redis is unavailable."""
        state = looked_at(self._look, "the receivers of notifications")
        if state is None:
            return
        failures = _gauge("failures", "Attempts in a row that the receiver did not take.")
        waiting = _gauge("waiting_messages", "Messages that the receiver has not taken yet.")
        given_up = _gauge("given_up_messages", "Messages that the receiver did not take within a day.")
        for name, health in sorted(state.receivers.items()):
            failures.add_metric([name], health.failures)
            waiting.add_metric([name], state.waiting_for(name))
            given_up.add_metric([name], health.given_up)
        yield from (failures, waiting, given_up)


def _gauge(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"aquilax_feedback_notification_{name}", documentation, labels=["receiver"])
