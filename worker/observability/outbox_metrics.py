"""What a relay tells Prometheus: what it has carried, and what waits in the outbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.observability.looking import looked_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from producer.outbox import OutboxStatus, Relay

__all__ = ["OfOutbox"]


class OfOutbox(Collector):
    """A relay and its outbox, which is counted each time that Prometheus asks.

    Args:
        relay: What carries.
        look: Counts the outbox.
    """

    def __init__(self, relay: Relay, look: Callable[[], OutboxStatus]) -> None:
        self._relay = relay
        self._look = look

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. While the database is unavailable, those of the relay alone."""
        yield _counter("relayed", "Events that were carried to Redis.", self._relay.relayed)
        yield _counter("set_aside", "Rows that were no event.", self._relay.set_aside)
        yield _gauge("relay_up", "Whether the relay's last try succeeded.", self._relay.problem is None)
        found = looked_at(self._look, "the outbox")
        if found is None:
            return
        yield _gauge("waiting_rows", "Rows that wait to be carried.", found.waiting)
        yield _gauge("set_aside_rows", "Rows that are set aside.", found.set_aside)
        age = (datetime.now(UTC) - found.oldest_at).total_seconds() if found.oldest_at is not None else 0
        yield _gauge("oldest_age_seconds", "Since the oldest row that waits was written; 0 if none waits.", age)


def _counter(name: str, documentation: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"aquilax_feedback_outbox_{name}", documentation, value=value)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"aquilax_feedback_outbox_{name}", documentation, value=float(value))
