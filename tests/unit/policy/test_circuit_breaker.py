"""When a run of "not now" means that AquilaX is down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.policy.circuit_breaker import CircuitBreaker
from worker.policy.classification import Classification

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def after(count: int, *, lasting: timedelta) -> CircuitBreaker:
    """A run of so many answers, spread evenly."""
    breaker = CircuitBreaker()
    for number in range(count):
        breaker = breaker.after(Classification.RETRYABLE, NOON + lasting * number / max(count - 1, 1))
    return breaker


def test_a_sustained_run_opens() -> None:
    """Twenty in a row, over five seconds."""
    assert after(20, lasting=5 * SECOND).is_open(NOON + 5 * SECOND)


def test_a_burst_does_not_open() -> None:
    """A thousand threads that fail in one hiccup are one hiccup."""
    assert not after(1000, lasting=4.9 * SECOND).is_open(NOON + 4.9 * SECOND)


def test_a_few_do_not_open() -> None:
    """However long they last: it may be these events."""
    assert not after(19, lasting=timedelta(hours=1)).is_open(NOON + timedelta(hours=1))


def test_a_worker_that_sends_little_opens_too_at_its_twentieth() -> None:
    """One answer in ten minutes, and all of them the same."""
    assert after(20, lasting=timedelta(minutes=190)).is_open(NOON + timedelta(minutes=190))


@pytest.mark.parametrize(
    "classification",
    [classification for classification in Classification if classification is not Classification.RETRYABLE],
)
def test_any_other_answer_ends_the_run(classification: Classification) -> None:
    """AquilaX is answering, be it that it refuses."""
    breaker = after(100, lasting=9 * SECOND).after(classification, NOON + 10 * SECOND)

    assert breaker == CircuitBreaker()
    assert not breaker.after(Classification.RETRYABLE, NOON + 11 * SECOND).is_open(NOON + 11 * SECOND)
