"""What becomes of an event after its classification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.policy.classification import Classification, Response
from worker.policy.retry import (
    Delivered,
    Outcome,
    Reason,
    RetryAt,
    RetryPolicy,
    SendToDeadLetters,
    Snooze,
    backoff,
    busy_backoff,
    decide,
    snooze_backoff,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLICY = RetryPolicy(max_attempts=5, base=timedelta(seconds=2), cap=timedelta(minutes=10), horizon=timedelta(hours=1))
BUSY = Response(status=503, text="later")

spreads = st.floats(min_value=0, max_value=1)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(min_value=1, max_value=1_000_000),
    base=st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=3650)),
    cap=st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=3650)),
    horizon=st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=3650)),
)
retry_afters = st.none() | st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000))


def decision(classification: Classification, answer: Response = BUSY, **changed: Any) -> Outcome:
    """Decide on a first attempt made just now, without jitter, but for what is changed."""
    given_: dict[str, Any] = {
        "policy": POLICY, "attempts": 1, "on_hold": False, "enqueued_at": NOW, "now": NOW, "jitter": 1.0
    }  # fmt: skip
    return decide(classification, answer, **(given_ | changed))


@pytest.mark.parametrize(
    ("tries", "seconds"), [(0, 2), (1, 2), (2, 4), (3, 8), (4, 16), (9, 512), (10, 600), (99, 600)]
)
def test_the_longest_wait_doubles_up_to_the_cap(tries: int, seconds: float) -> None:
    """Exponential, capped."""
    assert backoff(POLICY, tries=tries, jitter=1) == timedelta(seconds=seconds)


@given(policy=policies, tries=st.integers(min_value=0, max_value=10**9), jitter=spreads)
def test_a_wait_lies_between_nothing_and_the_cap(policy: RetryPolicy, tries: int, jitter: float) -> None:
    """Full jitter: anything from 0 to the longest wait, and never an overflow."""
    wait = backoff(policy, tries=tries, jitter=jitter)

    assert timedelta(0) <= wait <= policy.cap


@given(tries=st.integers(min_value=1, max_value=100), jitter=spreads)
def test_full_jitter_is_a_share_of_the_longest_wait(tries: int, jitter: float) -> None:
    """Chance spreads the whole wait, not only its end."""
    longest = backoff(POLICY, tries=tries, jitter=1)

    assert abs(backoff(POLICY, tries=tries, jitter=jitter) - longest * jitter) <= timedelta(microseconds=1)


def test_a_delivered_event_is_done() -> None:
    """There is nothing more to say."""
    assert decision(Classification.DELIVERED, Response(status=200)) == Delivered()


def test_a_rejected_event_is_a_dead_letter_at_once() -> None:
    """It would be refused again."""
    outcome = decision(Classification.REJECTED, Response(status=404, text="Request ID not found"))

    assert outcome == SendToDeadLetters(reason=Reason.REJECTED, http_status=404, response="Request ID not found")


def test_a_forbidden_event_is_a_dead_letter_at_once() -> None:
    """The key may not speak for this group, however often it asks."""
    outcome = decision(Classification.FORBIDDEN, Response(status=403, text="no"))

    assert outcome == SendToDeadLetters(reason=Reason.FORBIDDEN, http_status=403, response="no")


def test_an_event_is_retried_after_the_backoff() -> None:
    """The attempts spent set the wait."""
    assert decision(Classification.RETRYABLE, attempts=3) == RetryAt(at=NOW + timedelta(seconds=8), cause="503 later")


def test_retry_after_is_obeyed_in_full() -> None:
    """The backoff's cap is ours; what AquilaX asks for is beyond it, and up to the horizon it is given."""
    asked = timedelta(minutes=30)

    outcome = decision(Classification.RETRYABLE, Response(status=429, retry_after=asked), jitter=0.0)

    assert isinstance(outcome, RetryAt)
    assert outcome.at == NOW + asked


def test_a_crowd_that_was_asked_to_wait_does_not_come_back_at_one_instant() -> None:
    """Never before the time that was asked for, and spread over a little time after it."""
    asked = timedelta(minutes=30)

    outcome = decision(Classification.RETRYABLE, Response(status=429, retry_after=asked), jitter=0.5)

    assert isinstance(outcome, RetryAt)
    assert outcome.at == NOW + asked + timedelta(seconds=1)


def test_a_short_retry_after_does_not_shorten_the_backoff() -> None:
    """Retry-After is the least to wait."""
    outcome = decision(Classification.RETRYABLE, Response(status=503, retry_after=timedelta(0)), attempts=4)

    assert isinstance(outcome, RetryAt)
    assert outcome.at == NOW + timedelta(seconds=16)


def test_the_last_attempt_is_the_last() -> None:
    """As many attempts as the policy says, and not one more."""
    assert isinstance(decision(Classification.RETRYABLE, attempts=4), RetryAt)
    assert decision(Classification.RETRYABLE, attempts=5) == SendToDeadLetters(
        reason=Reason.EXHAUSTED, http_status=503, response="later"
    )


def test_a_wait_beyond_the_horizon_becomes_one_last_try_at_the_horizon() -> None:
    """Time that is left is used."""
    outcome = decision(
        Classification.RETRYABLE,
        Response(status=503, retry_after=timedelta(days=2)),
        enqueued_at=NOW - timedelta(minutes=59),
    )

    assert isinstance(outcome, RetryAt)
    assert outcome.at == NOW + timedelta(minutes=1)


def test_after_the_horizon_an_event_is_exhausted() -> None:
    """It is not waited for any more."""
    outcome = decision(
        Classification.RETRYABLE, Response(status=None, text="timeout"), enqueued_at=NOW - timedelta(hours=1)
    )

    assert outcome == SendToDeadLetters(reason=Reason.EXHAUSTED, http_status=None, response="timeout")


@pytest.mark.parametrize("retry_after", [timedelta(0), timedelta(days=3650), timedelta.max])
def test_a_hostile_retry_after_is_no_longer_than_the_horizon(retry_after: timedelta) -> None:
    """No answer can put an event to sleep for ever, or overflow the calendar."""
    answer = Response(status=503, retry_after=min(retry_after, timedelta(days=3650)))

    outcome = decision(Classification.RETRYABLE, answer)

    assert isinstance(outcome, RetryAt)
    assert outcome.at <= NOW + POLICY.horizon


def test_locked_out_is_held_however_many_attempts_and_however_late() -> None:
    """Our key is wrong: no event is to blame, and none becomes a dead letter."""
    outcome = decision(
        Classification.UNAUTHORIZED,
        Response(status=401, text="no"),
        attempts=10**6,
        enqueued_at=NOW - timedelta(days=900),
    )

    assert outcome == Snooze(cause="401 no")


def test_not_now_spends_no_attempt_while_aquilax_is_known_to_be_down() -> None:
    """Not even the last one: no event is to blame."""
    assert decision(Classification.RETRYABLE, on_hold=True, attempts=10**6) == Snooze(cause=BUSY.summary)


@pytest.mark.parametrize(
    "classification", [Classification.DELIVERED, Classification.REJECTED, Classification.FORBIDDEN]
)
def test_a_hold_changes_no_other_answer(classification: Classification) -> None:
    """What AquilaX says of this event counts."""
    assert decision(classification, on_hold=True) == decision(classification, on_hold=False)


@given(
    policy=policies,
    attempts=st.integers(min_value=1, max_value=2**31),
    age=st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=365_000)),
    retry_after=retry_afters,
    jitter=spreads,
)
def test_a_retry_is_never_in_the_past_and_never_beyond_the_horizon(
    policy: RetryPolicy, attempts: int, age: timedelta, retry_after: timedelta | None, jitter: float
) -> None:
    """Whatever AquilaX answers, the event ends: retried within its horizon, or exhausted."""
    outcome = decision(
        Classification.RETRYABLE,
        Response(status=503, retry_after=retry_after),
        policy=policy, attempts=attempts, enqueued_at=NOW - age, jitter=jitter,
    )  # fmt: skip

    if isinstance(outcome, RetryAt):
        assert attempts < policy.max_attempts
        assert NOW <= outcome.at <= NOW - age + policy.horizon
    else:
        assert isinstance(outcome, SendToDeadLetters)
        assert attempts >= policy.max_attempts or age >= policy.horizon


@given(policy=policies, snoozes=st.integers(min_value=1, max_value=2**31), jitter=spreads)
def test_what_something_of_ours_keeps_back_looks_again_soon(policy: RetryPolicy, snoozes: int, jitter: float) -> None:
    """A database that was fixed is noticed."""
    assert (
        timedelta(0) <= snooze_backoff(policy, snoozes=snoozes, jitter=jitter) <= min(policy.cap, timedelta(minutes=5))
    )


@given(policy=policies, snoozes=st.integers(min_value=1, max_value=2**31), jitter=spreads)
def test_a_busy_request_id_is_tried_again_after_about_a_request(
    policy: RetryPolicy, snoozes: int, jitter: float
) -> None:
    """Not at once, for the other message is still being sent then, and not late, for it soon is no longer."""
    longest = min(policy.cap, min(policy.base, timedelta(milliseconds=200)) * 2 ** min(snoozes - 1, 20))
    longest = min(longest, timedelta(seconds=10))

    assert longest / 2 - EPSILON <= busy_backoff(policy, snoozes=snoozes, jitter=jitter) <= longest + EPSILON


EPSILON = timedelta(microseconds=2)
"""`timedelta` rounds to microseconds."""
