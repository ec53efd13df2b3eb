"""What a worker counts and measures, as Prometheus reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from producer import FeedbackEvent
from worker.delivery.hold import HoldKind
from worker.observability.metrics import Metrics
from worker.policy.classification import Classification, Response, classify
from worker.policy.envelope import Envelope
from worker.policy.message import Message, PoisonMessage
from worker.policy.result import Completed, DeadLetteredResult, DeliveryResult, Redeliver, ResultKind
from worker.policy.retry import Reason

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
ENVELOPE = Envelope(enqueued_at=NOON, message_id="m1", attempts=2)
MESSAGE = Message(event=EVENT, envelope=ENVELOPE)
POISON = PoisonMessage(raw=b"{}", problem="no", envelope=replace(ENVELOPE, attempts=0))
RETRY = Redeliver(envelope=ENVELOPE.spent(), summary="retry", result=ResultKind.RETRY)
TOOK = timedelta(milliseconds=200)


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a process, seven seconds past noon."""
    return Metrics(now=lambda: NOON + timedelta(seconds=7))


def tell(
    metrics: Metrics, ending: DeliveryResult, status: int | None = None, message: Message | PoisonMessage = MESSAGE
) -> None:
    """Let a attempt end, after an answer if there was one."""
    attempt = metrics.began(message)
    if status is not None:
        answer = Response(status=status, took=TOOK)
        attempt.responded(answer, classify(answer))
    attempt.ended(ending)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """What Prometheus reads for one series."""
    return metrics.registry.get_sample_value(f"aquilax_feedback_{name}", labels)


def test_a_delivery_is_counted_and_measured(metrics: Metrics) -> None:
    """How often it was tried, how long AquilaX took, and how long ago it was enqueued."""
    tell(metrics, Completed(summary="delivered"), 200)

    assert value(metrics, "deliveries_total", outcome="delivered") == 1
    assert value(metrics, "classifications_total", classification="delivered") == 1
    assert (value(metrics, "attempts_count"), value(metrics, "attempts_sum")) == (1, 3)
    assert value(metrics, "request_duration_seconds_sum") == 0.2
    assert value(metrics, "enqueue_to_delivered_seconds_sum") == 7


@pytest.mark.parametrize("words", ["duplicate", "stale"])
def test_what_is_not_sent_is_counted_and_not_measured(metrics: Metrics, words: str) -> None:
    """It would make AquilaX look fast, and the way short."""
    tell(metrics, Completed(summary=words))

    assert value(metrics, "deliveries_total", outcome=words) == 1
    for name in ("attempts", "request_duration_seconds", "enqueue_to_delivered_seconds"):
        assert value(metrics, f"{name}_count") == 0, name


def test_a_retry_is_counted_and_its_answer_measured(metrics: Metrics) -> None:
    """The event has not ended, so its attempts are not known yet."""
    tell(metrics, RETRY, 503)

    assert value(metrics, "retries_total") == 1
    assert value(metrics, "classifications_total", classification="retryable") == 1
    assert value(metrics, "request_duration_seconds_count") == 1
    assert value(metrics, "attempts_count") == 0


@pytest.mark.parametrize("result", [ResultKind.HOLD, ResultKind.SNOOZED])
def test_waiting_is_no_retry(metrics: Metrics, result: ResultKind) -> None:
    """It spends no attempt."""
    tell(metrics, replace(RETRY, result=result), 401)

    assert value(metrics, "deliveries_total", outcome=result.value) == 1
    assert value(metrics, "retries_total") == 0


def test_a_dead_letter_is_counted_by_its_reason(metrics: Metrics) -> None:
    """With the attempts that it took, unless it never was an event."""
    tell(metrics, DeadLetteredResult(reason=Reason.REJECTED, summary="dead letter"), 404)
    tell(metrics, DeadLetteredResult(reason=Reason.INVALID, summary="dead letter"), message=POISON)

    counts = {reason: value(metrics, "dead_letters_total", reason=reason.value) for reason in Reason}
    assert counts == {Reason.REJECTED: 1, Reason.FORBIDDEN: 0, Reason.EXHAUSTED: 0, Reason.INVALID: 1}
    assert value(metrics, "deliveries_total", outcome="dead_letter") == 2
    assert value(metrics, "attempts_count") == 1


def test_a_hold_that_begins_is_counted_by_its_kind(metrics: Metrics) -> None:
    """That it stands is the queue's to say."""
    metrics.hold_begun(HoldKind.BREAKER)

    assert value(metrics, "holds_begun_total", kind="breaker") == 1
    assert value(metrics, "holds_begun_total", kind="locked_out") == 0


def test_every_series_is_there_from_the_beginning(metrics: Metrics) -> None:
    """`rate()` and `increase()` miss the first one of a series that begins with it."""
    for result in ResultKind:
        assert value(metrics, "deliveries_total", outcome=result.value) == 0, result
    for classification in Classification:
        assert value(metrics, "classifications_total", classification=classification.name.lower()) == 0, classification


def test_the_names_follow_prometheus_conventions(metrics: Metrics) -> None:
    """One prefix, snake case, counters in `_total`, durations in seconds, and each with a word of explanation."""
    text = generate_latest(metrics.registry).decode()

    families = list(text_string_to_metric_families(text))
    assert families
    for family in families:
        assert re.fullmatch(r"aquilax_feedback_[a-z]+(_[a-z]+)*", family.name), family.name
        assert family.documentation.endswith("."), family.name
    counted = set(re.findall(r"^# TYPE (\S+) counter$", text, re.MULTILINE))
    assert all(name.endswith("_total") for name in counted)
    assert not re.search(r"_(ms|milliseconds|minutes)\b", text)
