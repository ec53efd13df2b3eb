"""What an exporter tells autoscalers: how much there is to do, also while no worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.observability.looking import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from worker.accounting.backlog import Backlog

__all__ = ["OfBacklog"]


class OfBacklog(Collector):
    """The backlog, looked at for each scrape.

    Args:
        look: Looks into Redis.
        replays: Tells how many replays go on, and need a worker for it.
    """

    def __init__(self, look: Callable[[], Backlog], replays: Callable[[], int]) -> None:
        self._look = look
        self._replays = replays

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none while Redis is unavailable, as 0 would stop workers."""
        backlog = looked_at(self._look, "the backlog")
        if backlog is None:
            return
        yield _gauge("backlog_messages", "Messages that more workers would end sooner; 0 in a hold.", backlog.messages)
        yield _gauge(
            "backlog_age_seconds",
            "How long the oldest event has waited for its first attempt; 0 in a hold.",
            backlog.age.total_seconds(),
        )
        yield _gauge(
            "unfinished_work",
            "Messages and replays that have not ended: a worker is needed while there are any.",
            backlog.unfinished + self._replays(),
        )


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"aquilax_feedback_{name}", documentation, value=float(value))
