"""What happens to an event after the classification of a response: delivered, retried, held or buried."""

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
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snooze:
    """Nothing can be sent just now, and the event is not to blame: it goes back, and no attempt is spent."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToDeadLetters:
    """Keep it in the dead-letter table.

    Attributes:
        reason: Why.
        http_status: The status of the last answer, if one came.
        answer: The last answer's text, or what is wrong with the message.
    """

    reason: Reason
    http_status: int | None = None
    answer: str = ""


Outcome = Delivered | RetryAt | Snooze | SendToDeadLetters


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long and how often to try.

    Attributes:
        max_attempts: Attempts before an event is buried as exhausted.
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
        jitter: Chance, from 0 to 1.
    """
    doublings = min(max(tries, 1) - 1, _LONGEST_DOUBLING)
    longest = min(policy.cap.total_seconds(), policy.base.total_seconds() * 2**doublings)
    return timedelta(seconds=longest * jitter)


def snooze_backoff(policy: RetryPolicy, *, holds: int, jitter: float) -> timedelta:
    """Return the wait before an event that something of ours keeps back looks again: as `backoff`, but never long.

    A database that is away, say, will be mended: then the events that wait for it shall not sleep on for an hour.

    Args:
        policy: The limits.
        holds: How often the event has been kept back, from 1.
        jitter: Chance, from 0 to 1.
    """
    return backoff(replace(policy, cap=min(policy.cap, _LONGEST_PAUSE)), tries=holds, jitter=jitter)


_LONGEST_PAUSE: Final = timedelta(minutes=5)


def decide(
    classification: Classification,
    answer: Response,
    *,
    policy: RetryPolicy,
    attempts: int,
    held: bool,
    enqueued_at: datetime,
    now: datetime,
    jitter: float,
) -> Outcome:
    """Return what becomes of an event.

    Args:
        classification: What the answer means.
        answer: The answer itself.
        policy: How long and how often to try.
        attempts: Attempts spent, this one included.
        held: Whether "not now" is AquilaX' state rather than this event's luck: then it spends no attempt.
        enqueued_at: When the event was first enqueued.
        now: The time.
        jitter: Chance, from 0 to 1.
    """
    match classification:
        case Classification.DELIVERED:
            return Delivered()
        case Classification.REJECTED | Classification.FORBIDDEN:
            reason = Reason.REJECTED if classification is Classification.REJECTED else Reason.FORBIDDEN
            return SendToDeadLetters(reason=reason, http_status=answer.status, answer=answer.text)
        case Classification.UNAUTHORIZED:
            return Snooze(why=answer.words)
        case Classification.RETRYABLE if held:
            return Snooze(why=answer.words)
        case Classification.RETRYABLE:
            deadline = enqueued_at + policy.horizon
            if attempts >= policy.max_attempts or now >= deadline:
                return SendToDeadLetters(reason=Reason.EXHAUSTED, http_status=answer.status, answer=answer.text)
            wait = backoff(policy, tries=attempts, jitter=jitter)
            due = now + _asked(wait, answer, policy=policy, jitter=jitter)
            return RetryAt(at=min(due, deadline), why=answer.words)
        case _:
            assert_never(classification)


def _asked(wait: timedelta, answer: Response, *, policy: RetryPolicy, jitter: float) -> timedelta:
    """The wait, or what AquilaX asks for, with a little jitter so that not all come back at the same instant.

    No wait is longer than the horizon, which also keeps a hostile Retry-After from overflowing the calendar.
    """
    if answer.retry_after is not None:
        wait = max(wait, answer.retry_after + policy.base * jitter)
    return min(wait, policy.horizon)
