"""What one gateway process counts and measures, for Prometheus; for its names see `worker.observability.metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from worker.gateway.exchange import Exchange

__all__ = ["GatewayMetrics"]

_NAMESPACE: Final = "aquilax_feedback_gateway"
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class GatewayMetrics:
    """Counts requests and events by route, key name and status: as many series as there are of each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "requests", "Requests that were answered.", ["route", "client", "status"],
            namespace=_NAMESPACE, registry=self.registry,
        )  # fmt: skip
        self._events = Counter(
            "events", "Events and items of bodies, by what became of them: taken, spooled or invalid.",
            ["client", "outcome"], namespace=_NAMESPACE, registry=self.registry,
        )  # fmt: skip
        self._durations = Histogram(
            "request_duration_seconds", "From a request's headers to its response.", ["route"],
            namespace=_NAMESPACE, registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.in_flight = Gauge(
            "requests_in_flight", "Requests that are not answered yet.", namespace=_NAMESPACE, registry=self.registry
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._known_events: dict[tuple[str, str], Counter] = {}

    def observe(self, exchange: Exchange, status: int) -> None:
        """Count a request that was answered."""
        route, client = exchange.route, exchange.client
        known = self._known.get((route, client, status))
        if known is None:  # looking a series up by its labels takes longer
            known = self._requests.labels(route, client, str(status)), self._durations.labels(route)
            self._known[route, client, status] = known
        known[0].inc()
        known[1].observe(exchange.seconds)
        if exchange.taken > exchange.spooled:
            self._count(client, "taken", exchange.taken - exchange.spooled)
        if exchange.spooled:
            self._count(client, "spooled", exchange.spooled)
        if exchange.invalid:
            self._count(client, "invalid", exchange.invalid)

    def page(self) -> bytes:
        """Return all of them as text."""
        return generate_latest(self.registry)

    def _count(self, client: str, outcome: str, number: int) -> None:
        counter = self._known_events.get((client, outcome))
        if counter is None:
            counter = self._known_events[client, outcome] = self._events.labels(client, outcome)
        counter.inc(number)
