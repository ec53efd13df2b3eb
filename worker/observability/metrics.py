"""What one worker process counts and measures, for Prometheus.

Names and units are by https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.delivery.hold import HoldKind
from worker.policy.classification import Classification
from worker.policy.result import DeadLetteredResult, ResultKind
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from worker.delivery.hooks import AttemptHooks
    from worker.policy.classification import Response
    from worker.policy.message import Message, PoisonMessage
    from worker.policy.result import DeliveryResult

__all__ = ["Metrics"]

_NAMESPACE: Final = "aquilax_feedback"

_ATTEMPTS: Final = (1, 2, 3, 5, 8, 13, 20, 50, 100, 200)
"""Up to the default of FEEDBACK_MAX_ATTEMPTS."""

_ANSWER_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Around the default of FEEDBACK_REQUEST_TIMEOUT, 10 s."""

_DELIVERY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400, 259200)
"""From at once to the default of FEEDBACK_RETRY_HORIZON, three days."""


class Metrics:
    """Counts what the deliveries of this process come to; an observer.

    Every series is there from the beginning, at zero: what has not happened yet can be told from what is not measured.
    """

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self.now = now
        self.registry = CollectorRegistry()
        results = self._counter("deliveries", "Attempts to deliver a message, by what became of it.", "outcome")
        self.results = {result: results.labels(result.value) for result in ResultKind}
        classifications = self._counter(
            "classifications", "Responses of AquilaX, by what they mean for the event.", "classification"
        )
        self.classifications = {
            classification: classifications.labels(classification.name.lower()) for classification in Classification
        }
        self.retries = self._counter("retries", "Attempts that failed, after which the event is tried again.")
        reasons = self._counter("dead_letters", "Events that became dead letters here, by the reason.", "reason")
        self.dead_letters = {reason: reasons.labels(reason.value) for reason in Reason}
        holds = self._counter("holds_begun", "Holds that this process began, by their kind.", "kind")
        self.holds = {kind.value: holds.labels(kind.value) for kind in (HoldKind.LOCKED_OUT, HoldKind.BREAKER)}
        self.attempts = self._histogram("attempts", "Attempts of an event that was delivered or is dead.", _ATTEMPTS)
        self.answer_seconds = self._histogram(
            "request_duration_seconds", "How long AquilaX was waited for.", _ANSWER_SECONDS
        )
        self.delivery_seconds = self._histogram(
            "enqueue_to_delivered_seconds", "From the first enqueue of an event to its delivery.", _DELIVERY_SECONDS
        )

    def began(self, message: Message | PoisonMessage) -> AttemptHooks:
        """See `Hooks`."""
        return _Counted(self, message)

    def hold_begun(self, kind: str) -> None:
        """See `Hooks`."""
        self.holds[kind].inc()

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace=_NAMESPACE, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, documentation, namespace=_NAMESPACE, buckets=buckets, registry=self.registry)


class _Counted:
    """One attempt."""

    __slots__ = ("_message", "_metrics")

    def __init__(self, metrics: Metrics, message: Message | PoisonMessage) -> None:
        self._metrics = metrics
        self._message = message

    def responded(self, response: Response, classification: Classification) -> None:
        self._metrics.classifications[classification].inc()
        self._metrics.answer_seconds.observe(response.took.total_seconds())

    def ended(self, ending: DeliveryResult) -> None:
        metrics, envelope = self._metrics, self._message.envelope
        metrics.results[ending.result].inc()
        if ending.result is ResultKind.RETRY:
            metrics.retries.inc()
        elif ending.result is ResultKind.DELIVERED:
            metrics.attempts.observe(envelope.attempt)
            metrics.delivery_seconds.observe((metrics.now() - envelope.enqueued_at).total_seconds())
        elif isinstance(ending, DeadLetteredResult):
            metrics.dead_letters[ending.reason].inc()
            if ending.reason is not Reason.INVALID:  # that one was never sent
                metrics.attempts.observe(envelope.attempt)
