"""What happens to an event after the classification of a response: delivered, retried, snoozed, or a dead letter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from worker.policy.classification import Classification, Response

__all__ = [
    "Delivered",
    "Outcome",
    "Reason",
    "RetryAt",
    "RetryPolicy",
    "SendToDeadLetters",
    "Snooze",
    "backoff",
    "busy_backoff",
    "decide",
    "snooze_backoff",
]


class Reason(StrEnum):
    """Why an event is in the dead-letter table."""

    REJECTED = "rejected"
    FORBIDDEN = "forbidden"
    EXHAUSTED = "exhausted"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """AquilaX has the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAt:
    """Send it again at ``at``; an attempt is spent."""

    at: datetime
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze:
    """Nothing can be sent now, through no fault of the event: it returns to the queue, and no attempt is spent."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToDeadLetters:
    """Keep it in the dead-letter table.

    Attributes:
        reason: Why.
        http_status: The status of the last answer, if one came.
        response: The last response's text, or what is wrong with the message.
    """

    reason: Reason
    http_status: int | None = None
    response: str = ""


Outcome = Delivered | RetryAt | Snooze | SendToDeadLetters


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try.

    Attributes:
        max_attempts: Attempts before an event is a dead letter, as exhausted.
        base: The longest first wait; it doubles with each attempt.
        cap: The longest wait.
        horizon: How long after its first enqueue an event may still be retried.
    """

    max_attempts: int
    base: timedelta
    cap: timedelta
    horizon: timedelta


_LONGEST_DOUBLING: Final = 62
"""2**62 seconds: beyond it `timedelta` overflows, and any cap has long been reached."""


def backoff(policy: RetryPolicy, *, tries: int, jitter: float) -> timedelta:
    """Return the wait before the next try: exponential, capped, with full jitter.

    Full jitter after https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: it spreads a crowd
    of events that failed together better than a fixed wait with noise on top.

    Args:
        policy: The limits.
        tries: How many tries have been made, from 1.
        jitter: A random number from 0 to 1.
    """
    doublings = min(max(tries, 1) - 1, _LONGEST_DOUBLING)
    longest = min(policy.cap.total_seconds(), policy.base.total_seconds() * 2**doublings)
    return timedelta(seconds=longest * jitter)


def snooze_backoff(policy: RetryPolicy, *, snoozes: int, jitter: float) -> timedelta:
    """Return the wait before a snoozed event is tried again: as `backoff`, but never long.

    Once an unavailable database is back, the events that wait for it should not wait for another hour.

    Args:
        policy: The limits.
        snoozes: How often the event has been snoozed, from 1.
        jitter: A random number from 0 to 1.
    """
    return backoff(replace(policy, cap=min(policy.cap, _LONGEST_PAUSE)), tries=snoozes, jitter=jitter)


_LONGEST_PAUSE: Final = timedelta(minutes=5)


def busy_backoff(policy: RetryPolicy, *, snoozes: int, jitter: float) -> timedelta:
    """Return the wait for another message of the same request_id, which is being sent: as long as a request may take.

    Half of it is fixed: tried at once, the other one would still be under way.

    Args:
        policy: The limits.
        snoozes: How often the event has been snoozed, from 1.
        jitter: A random number from 0 to 1.
    """
    base, cap = min(policy.base, _BUSY_BASE), min(policy.cap, _BUSY_CAP)
    return backoff(replace(policy, base=base, cap=cap), tries=snoozes, jitter=(1 + jitter) / 2)


_BUSY_BASE: Final = timedelta(milliseconds=200)
_BUSY_CAP: Final = timedelta(seconds=10)


def decide(
    classification: Classification,
    response: Response,
    *,
    policy: RetryPolicy,
    attempts: int,
    on_hold: bool,
    enqueued_at: datetime,
    now: datetime,
    jitter: float,
) -> Outcome:
    """Return the outcome of an event.

    Args:
        classification: What the response means.
        response: The response itself.
        policy: How long and how often to try.
        attempts: Attempts spent, this one included.
        on_hold: Whether AquilaX can take no event at all, rather than not this one: then no attempt is spent.
        enqueued_at: When the event was first enqueued.
        now: The time.
        jitter: A random number from 0 to 1.
    """
    match classification:
        case Classification.DELIVERED:
            return Delivered()
        case Classification.REJECTED | Classification.FORBIDDEN:
            return _dead_letter(_REASONS[classification], response)
        case Classification.UNAUTHORIZED:
            return Snooze(cause=response.summary)
        case Classification.RETRYABLE if on_hold:
            return Snooze(cause=response.summary)
        case Classification.RETRYABLE if attempts >= policy.max_attempts or now >= enqueued_at + policy.horizon:
            return _dead_letter(Reason.EXHAUSTED, response)
        case Classification.RETRYABLE:
            due = now + _wait(response, policy=policy, attempts=attempts, jitter=jitter)
            return RetryAt(at=min(due, enqueued_at + policy.horizon), cause=response.summary)
        case _:
            assert_never(classification)


_REASONS: Final = {Classification.REJECTED: Reason.REJECTED, Classification.FORBIDDEN: Reason.FORBIDDEN}


def _dead_letter(reason: Reason, response: Response) -> SendToDeadLetters:
    return SendToDeadLetters(reason=reason, http_status=response.status, response=response.text)


def _wait(response: Response, *, policy: RetryPolicy, attempts: int, jitter: float) -> timedelta:
    """The backoff, or what AquilaX asks for, with a little jitter so that not all come back at the same instant.

    No wait is longer than the horizon, which also keeps a hostile Retry-After from overflowing the calendar.
    """
    wait = backoff(policy, tries=attempts, jitter=jitter)
    if response.retry_after is not None:
        wait = max(wait, response.retry_after + policy.base * jitter)
    return min(wait, policy.horizon)
