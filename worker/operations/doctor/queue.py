"""The queue: is anything held, does anything wait for too long, does more come than goes?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.accounting.snapshot import Rates
from worker.delivery.hold import HoldKind
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.operations.hold import fix_of, fix_of_org
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from worker.accounting.held_orgs import HeldOrgs
    from worker.accounting.snapshot import Snapshot

__all__ = ["look_at_queue"]

_BACKLOG: Final = 1000
"""Events that are one: fewer are gone in a second or two."""

_OLD: Final = timedelta(minutes=15)
"""An event that is older was retried a few times, or no worker takes it."""


def look_at_queue(
    before: Snapshot, now: Snapshot, *, horizon: timedelta, held: HeldOrgs | None = None
) -> Iterator[Finding]:
    """Check the queue as it is now, and was a few seconds before; for the horizon an event is retried."""
    yield _hold(now)
    if held is not None:
        yield from _held_orgs(held, now.at)
    yield _age(now, horizon, waits=now.hold is not None or (held is not None and bool(held.holds)))
    yield _backlog(before, now)


def _hold(now: Snapshot) -> Finding:
    check, hold = "hold", now.hold
    if hold is None:
        return green(check, "nothing is held")
    since = f" since {span(now.at - hold.since)}" if hold.since else ""
    by = f" ({'said' if hold.by_hand else 'found'} by {hold.actor})" if hold.actor else ""
    summary = f"nothing is sent to AquilaX{since}: {hold.comment}{by}"
    fix = fix_of(hold.kind)
    if hold.beneath is not None:
        summary += f"; beneath it {hold.beneath.comment}"
        fix = f"{fix_of(hold.beneath.kind)}; {fix}"
    automatic = hold.automatic
    locked_out = automatic is not None and automatic.kind is HoldKind.LOCKED_OUT
    return (red if locked_out else yellow)(check, summary, fix=fix)


def _held_orgs(held: HeldOrgs, now: datetime) -> Iterator[Finding]:
    for hold in held.holds:
        state = hold.state
        since = f" since {span(now - state.since)}" if state.since else ""
        by = f" ({'said' if state.by_hand else 'found'} by {state.actor})" if state.actor else ""
        summary = f"nothing of {hold.shown} is sent{since}: {state.comment}{by}"
        more = f"; {held.set_aside[hold.scope]:,} events are set aside"
        yield (yellow if state.by_hand else red)("org hold", summary + more, fix=fix_of_org(hold))


def _age(now: Snapshot, horizon: timedelta, *, waits: bool) -> Finding:
    check = "oldest event"
    if now.oldest is None:
        return green(check, "nothing waits")
    age = now.at - now.oldest
    summary = f"enqueued {span(age)} ago"
    if waits or age < min(_OLD, horizon / 2):
        return green(check, summary)
    fix = "look in the workers' log, or in Flower, for why it is retried: `retry in …`, `snoozed, …`"
    if age < horizon / 2:
        return yellow(check, summary, fix=fix)
    return red(check, f"{summary}; after {span(horizon)} it is a dead letter, as exhausted", fix=fix)


def _backlog(before: Snapshot, now: Snapshot) -> Finding:
    check, waiting = "backlog", now.queued + now.in_flight
    rates = Rates.between(before, now)
    summary = f"{now.queued:,} queued, {now.in_flight:,} in flight, {now.scheduled:,} scheduled"
    if rates is None or now.hold is not None:
        return green(check, summary)
    summary += f"; {rates.accepted:,.0f}/s come, {rates.ended:,.0f}/s end"
    if waiting > _BACKLOG and now.queued > before.queued and rates.accepted > rates.ended:
        return yellow(check, f"{summary}: it grows", fix="start more workers, or raise FEEDBACK_CONCURRENCY")
    return green(check, summary)
