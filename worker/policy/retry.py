"""What happens to an event after a verdict: delivered, retried, held or buried."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from worker.policy.verdict import Answer, Verdict

__all__ = ["Bury", "Delivered", "Hold", "Outcome", "Reason", "RetryAt", "RetryPolicy", "backoff", "decide", "pause"]


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
class Hold:
    """Nothing can be sent just now, and the event is not to blame: it goes back, and no attempt is spent."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bury:
    """Keep it in the dead-letter table.

    Attributes:
        reason: Why.
        http_status: The status of the last answer, if one came.
        answer: The last answer's text, or what is wrong with the message.
    """

    reason: Reason
    http_status: int | None = None
    answer: str = ""


Outcome = Delivered | RetryAt | Hold | Bury


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


def backoff(policy: RetryPolicy, *, tries: int, spread: float) -> timedelta:
    """Return the wait before the next try: exponential, capped, with full jitter.

    Full jitter after https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/: it spreads a crowd
    of events that failed together better than a fixed wait with noise on top.

    Args:
        policy: The limits.
        tries: How many tries have been made, from 1.
        spread: Chance, from 0 to 1.
    """
    doublings = min(max(tries, 1) - 1, _LONGEST_DOUBLING)
    longest = min(policy.cap.total_seconds(), policy.base.total_seconds() * 2**doublings)
    return timedelta(seconds=longest * spread)


def pause(policy: RetryPolicy, *, holds: int, spread: float) -> timedelta:
    """Return the wait before an event that something of ours keeps back looks again: as `backoff`, but never long.

    A database that is away, say, will be mended: then the events that wait for it shall not sleep on for an hour.

    Args:
        policy: The limits.
        holds: How often the event has been kept back, from 1.
        spread: Chance, from 0 to 1.
    """
    return backoff(replace(policy, cap=min(policy.cap, _LONGEST_PAUSE)), tries=holds, spread=spread)


_LONGEST_PAUSE: Final = timedelta(minutes=5)


def decide(
    verdict: Verdict,
    answer: Answer,
    *,
    policy: RetryPolicy,
    attempts: int,
    held: bool,
    enqueued_at: datetime,
    now: datetime,
    spread: float,
) -> Outcome:
    """Return what becomes of an event.

    Args:
        verdict: What the answer means.
        answer: The answer itself.
        policy: How long and how often to try.
        attempts: Attempts spent, this one included.
        held: Whether "not now" is AquilaX' state rather than this event's luck: then it spends no attempt.
        enqueued_at: When the event was first enqueued.
        now: The time.
        spread: Chance, from 0 to 1.
    """
    match verdict:
        case Verdict.DELIVERED:
            return Delivered()
        case Verdict.REJECTED | Verdict.FORBIDDEN:
            reason = Reason.REJECTED if verdict is Verdict.REJECTED else Reason.FORBIDDEN
            return Bury(reason=reason, http_status=answer.status, answer=answer.text)
        case Verdict.LOCKED_OUT:
            return Hold(why=answer.words)
        case Verdict.NOT_NOW if held:
            return Hold(why=answer.words)
        case Verdict.NOT_NOW:
            deadline = enqueued_at + policy.horizon
            if attempts >= policy.max_attempts or now >= deadline:
                return Bury(reason=Reason.EXHAUSTED, http_status=answer.status, answer=answer.text)
            wait = backoff(policy, tries=attempts, spread=spread)
            due = now + _asked(wait, answer, policy=policy, spread=spread)
            return RetryAt(at=min(due, deadline), why=answer.words)
        case _:
            assert_never(verdict)


def _asked(wait: timedelta, answer: Answer, *, policy: RetryPolicy, spread: float) -> timedelta:
    """The wait, or what AquilaX asks for, with a little jitter so that not all come back at the same instant.

    No wait is longer than the horizon, which also keeps a hostile Retry-After from overflowing the calendar.
    """
    if answer.retry_after is not None:
        wait = max(wait, answer.retry_after + policy.base * spread)
    return min(wait, policy.horizon)
