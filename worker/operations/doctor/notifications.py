"""Notifications: can each address be told, and does each receiver take what it is told?"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import redis

from worker.notifications.sending import check_receiver
from worker.operations.broker import broker_partitions
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.operations.notifications import notifications_report
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.notifications import ReceiverReport
    from worker.settings import Settings

__all__ = ["look_at_notifications"]

_CHECK: Final = "notifications"
_REDIS_PATIENCE: Final = 2.0
"""Seconds for one command."""

_CHECKED_WITHIN: Final = 8.0
"""Seconds for one address."""

_LATE: Final = timedelta(minutes=5)
"""Workers look every ten seconds."""


def look_at_notifications(settings: Settings) -> Iterator[Finding]:
    """Check the addresses, and what the workers know of them; of a Redis that is unavailable nothing is said here."""
    for receiver in settings.receivers:
        if problem := check_receiver(receiver, timeout=_CHECKED_WITHIN):
            fix = "correct FEEDBACK_NOTIFY_URLS; `aquilax-feedback notify --test` tries it"
            yield red(_CHECK, f"the receiver {receiver.name} can't be told: {problem}", fix=fix)
    now = datetime.now(UTC)
    with closing(broker_partitions(settings, patience=_REDIS_PATIENCE, retries=0)) as partitions:
        try:
            report = notifications_report(settings, partitions.home, now=now)
        except redis.RedisError:
            return
    yield from (_of_receiver(receiver, now) for receiver in report.receivers)
    if report.looked_at is None or now - report.looked_at > _LATE:
        since = "ever" if report.looked_at is None else f"for {span(now - report.looked_at)}"
        fix = "start workers with FEEDBACK_NOTIFY_URLS; their log says what keeps them from it"
        yield yellow(_CHECK, f"no worker has looked for what is to be told {since}", fix=fix)


def _of_receiver(receiver: ReceiverReport, now: datetime) -> Finding:
    health, fix = receiver.health, "`aquilax-feedback notify --test` tries it"
    if health.problem:
        summary = f"the receiver {receiver.name} did not take {health.failures:,} attempts in a row: {health.problem}"
        return yellow(_CHECK, f"{summary}; {receiver.waiting:,} messages wait", fix=fix)
    if health.given_up:
        return yellow(_CHECK, f"the receiver {receiver.name} never got {health.given_up:,} messages", fix=fix)
    when = "nothing yet" if health.taken_at is None else f"its last message {span(now - health.taken_at)} ago"
    return green(_CHECK, f"the receiver {receiver.name} took {when}")
