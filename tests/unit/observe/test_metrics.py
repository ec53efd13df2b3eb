"""What a worker counts and measures, as Prometheus reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from producer import FeedbackEvent
from worker.hold import HoldKind
from worker.observe.metrics import Metrics
from worker.policy.ending import Again, Buried, Done, Ending, Result
from worker.policy.journey import Journey
from worker.policy.message import Message, Unreadable
from worker.policy.retry import Reason
from worker.policy.verdict import Answer, Verdict, classify

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = FeedbackEvent(
    request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="acme", group="chat", occurred_at=NOON
)
JOURNEY = Journey(enqueued_at=NOON, message_id="m1", attempts=2)
MESSAGE = Message(event=EVENT, journey=JOURNEY)
POISON = Unreadable(raw=b"{}", problem="no", journey=replace(JOURNEY, attempts=0))
RETRY = Again(journey=JOURNEY.spent(), words="retry", result=Result.RETRY)
TOOK = timedelta(milliseconds=200)


@pytest.fixture
def metrics() -> Metrics:
    """The metrics of a process, seven seconds past noon."""
    return Metrics(now=lambda: NOON + timedelta(seconds=7))


def tell(metrics: Metrics, ending: Ending, status: int | None = None, message: Message | Unreadable = MESSAGE) -> None:
    """Let a turn end, after an answer if there was one."""
    turn = metrics.began(message)
    if status is not None:
        answer = Answer(status=status, took=TOOK)
        turn.answered(answer, classify(answer))
    turn.ended(ending)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """What Prometheus reads for one series."""
    return metrics.registry.get_sample_value(f"aquilax_feedback_{name}", labels)


def test_a_delivery_is_counted_and_measured(metrics: Metrics) -> None:
    """How often it was tried, how long AquilaX took, and how long ago it was enqueued."""
    tell(metrics, Done(words="delivered"), 200)

    assert value(metrics, "deliveries_total", outcome="delivered") == 1
    assert value(metrics, "verdicts_total", verdict="delivered") == 1
    assert (value(metrics, "attempts_count"), value(metrics, "attempts_sum")) == (1, 3)
    assert value(metrics, "aquilax_request_duration_seconds_sum") == 0.2
    assert value(metrics, "enqueue_to_delivered_seconds_sum") == 7


@pytest.mark.parametrize("words", ["duplicate", "stale"])
def test_what_is_not_sent_is_counted_and_not_measured(metrics: Metrics, words: str) -> None:
    """It would make AquilaX look fast, and the way short."""
    tell(metrics, Done(words=words))

    assert value(metrics, "deliveries_total", outcome=words) == 1
    for name in ("attempts", "aquilax_request_duration_seconds", "enqueue_to_delivered_seconds"):
        assert value(metrics, f"{name}_count") == 0, name


def test_a_retry_is_counted_and_its_answer_measured(metrics: Metrics) -> None:
    """The event has not ended, so its attempts are not known yet."""
    tell(metrics, RETRY, 503)

    assert value(metrics, "retries_total") == 1
    assert value(metrics, "verdicts_total", verdict="not_now") == 1
    assert value(metrics, "aquilax_request_duration_seconds_count") == 1
    assert value(metrics, "attempts_count") == 0


@pytest.mark.parametrize("result", [Result.HOLD, Result.KEPT_BACK])
def test_waiting_is_no_retry(metrics: Metrics, result: Result) -> None:
    """It spends no attempt."""
    tell(metrics, replace(RETRY, result=result), 401)

    assert value(metrics, "deliveries_total", outcome=result.value) == 1
    assert value(metrics, "retries_total") == 0


def test_a_dead_letter_is_counted_by_its_reason(metrics: Metrics) -> None:
    """With the attempts that it took, unless it never was an event."""
    tell(metrics, Buried(reason=Reason.REJECTED, words="dead letter"), 404)
    tell(metrics, Buried(reason=Reason.INVALID, words="dead letter"), message=POISON)

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
    for result in Result:
        assert value(metrics, "deliveries_total", outcome=result.value) == 0, result
    for verdict in Verdict:
        assert value(metrics, "verdicts_total", verdict=verdict.name.lower()) == 0, verdict


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
