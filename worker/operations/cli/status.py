"""``aquilax-feedback status``: what is waiting, what became of the rest, and how fast it goes."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import click

from worker.accounting.balance import ENDS
from worker.accounting.snapshot import Rates, Snapshot, take_partial_snapshot
from worker.accounting.worker_presence import no_worker
from worker.clients.redis.keys import CountField
from worker.database.schema import check_schema
from worker.operations.cli.broker import broker
from worker.operations.cli.database import settings
from worker.operations.cli.output import INTERRUPTED, json_text, say, shown
from worker.operations.cli.param_types import Decimal
from worker.operations.database import checked_database
from worker.operations.hold import fix_of, fix_of_org
from worker.operations.partitions import shown_first
from worker.operations.status import Status
from worker.operations.text import utc
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from sqlalchemy import Engine

    from worker.accounting.continuity import Continuity
    from worker.accounting.held_orgs import HeldOrgs
    from worker.accounting.scheduled import Scheduled
    from worker.accounting.snapshot import Snapshot
    from worker.dead_letters.replays.attendance import Attended
    from worker.delivery.hold import HoldState
    from worker.operations.partitions import PartitionStatus

__all__ = ["status"]

_MEASURED: Final = 1.0
"""Seconds over which the rates are measured where there is no earlier look."""

_STRAYS_WITHIN: Final = 0.5
"""Seconds for looking through the names of all keys; `reconcile` takes more."""

_COLUMN: Final = 14


@click.command()
@click.option(
    "--watch",
    type=Decimal(min=0.1),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Look again and again, every 2 seconds if it is not said, until Ctrl-C.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; with --watch, one a line.")
def status(watch: float | None, *, as_json: bool) -> None:
    """Say what is queued, in flight and scheduled, what became of the rest, who works, and how fast.

    It costs Redis the same however much is queued. The exit status is 1 if Redis can't be asked.
    """
    with ExitStack() as stack:
        looks = _Looks(stack)
        if watch is None:
            look = looks.take()
            _print(look, as_json=as_json, again=False)
            sys.exit(1 if look.redis_problem else 0)
        try:
            while True:
                _print(looks.take(), as_json=as_json, again=True)
                time.sleep(watch)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


class _Looks:
    """Looks at Redis and the database, as often as it is asked to; either may be unavailable, and may come back."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._partitions = stack.enter_context(broker())
        self._engine: Engine | None = None
        self._before: Snapshot | None = None

    def take(self) -> Status:
        look = Status.take(
            settings(), self._partitions, queue=self._queue, database=self._database, strays_within=_STRAYS_WITHIN
        )
        self._before = look.snapshot
        return look

    def _queue(self) -> tuple[Snapshot, Rates | None]:
        before = self._before
        if before is None:
            before = take_partial_snapshot(self._partitions)
            time.sleep(_MEASURED)
            now = take_partial_snapshot(self._partitions, away=before.unavailable)
        else:
            now = take_partial_snapshot(self._partitions)
        return now, Rates.between(before, now) if before.is_whole and now.is_whole else None

    def _database(self) -> Engine:
        if self._engine is None:
            self._engine = self._stack.enter_context(checked_database(settings()))
        else:
            check_schema(self._engine)
        return self._engine


def _print(look: Status, *, as_json: bool, again: bool) -> None:
    if as_json:
        say(json_text(look.to_record(), indent=None if again else 2))
        return
    if again:
        click.clear()  # on a terminal; a pipe gets one status after the other
    for label, text in _lines(look):
        say(f"{label:<{_COLUMN}}{text}", color=False if os.environ.get("NO_COLOR") else None)
    if again:
        say()


def _lines(look: Status) -> Iterator[tuple[str, str]]:
    if look.redis_problem:
        yield "redis", f"unavailable: {look.redis_problem}"
    if look.snapshot is not None:
        yield from _of_queue(look.snapshot, look.scheduled)
        yield from _of_held_orgs(look.held_orgs, look.snapshot.at)
        yield from _of_partitions(look.partitions)
    if look.strays is not None:
        yield from (("no worker reads", shown(stray.summary)) for stray in look.strays.lists)
    yield from _of_continuity(look.continuity)
    yield from _of_table(look)
    yield from _replays(look.attended)
    if look.snapshot is not None:
        yield from _of_work(look.snapshot, look.rates)


def _of_queue(snapshot: Snapshot, scheduled: Scheduled | None) -> Iterator[tuple[str, str]]:
    counts = snapshot.counts
    yield "at", utc(snapshot.at)
    if not snapshot.is_whole:
        asked = len(snapshot.parts) - len(snapshot.unavailable)
        yield "PARTIAL", f"what follows is of the {asked} partitions that can be asked, of {len(snapshot.parts)}"
    yield ("waiting", f"{snapshot.queued:,} queued, {snapshot.in_flight:,} in flight, {snapshot.scheduled:,} scheduled")
    if scheduled is not None and scheduled.summary:
        yield "scheduled", scheduled.summary
    if snapshot.oldest is not None:
        yield "oldest", f"enqueued {span(snapshot.at - snapshot.oldest)} ago, at {utc(snapshot.oldest)}"
    yield "accepted", f"{snapshot.balance.accepted:,}"
    yield "ended", ", ".join(f"{counts.get(end, 0):,} {end.replace('_', ' ')}" for end in ENDS)
    if counts.get(CountField.DEAD):
        reasons = [f"{number:,} {reason}" for reason, number in snapshot.dead_by_reason.items() if number]
        yield "died of", ", ".join(reasons)


def _of_held_orgs(held: HeldOrgs | None, now: datetime) -> Iterator[tuple[str, str]]:
    if held is None:
        return
    for hold in held.holds:
        yield "held", f"{shown(hold.shown)}: {_hold(hold.state, now, ends=fix_of_org(hold))}"
        yield "", f"{held.set_aside[hold.scope]:,} set aside, which are among the scheduled"
        if not hold.state.by_hand:
            yield "", f"to end its cause: {shown(fix_of_org(hold))}"
    if held.going_back:
        yield "going back", f"{held.going_back:,} that were set aside; a worker gives them back to the queue"


def _of_partitions(rows: Sequence[PartitionStatus]) -> Iterator[tuple[str, str]]:
    """The few partitions that tell most; nothing where there is only one."""
    if not rows:
        return
    few, rest = shown_first(rows)
    nodes = {row.node for row in rows if row.node}
    where = f" on {len(nodes)} nodes" if nodes else ""
    yield "partitions", f"{len(rows)}{where}"
    for row in few:
        yield "", f"{row.name}{f' {row.node}' if row.node else ''}: {_partition(row)}"
    if rest:
        yield "", rest


def _partition(row: PartitionStatus) -> str:
    if row.now is None:
        return click.style(row.brief, fg="red", bold=True)
    oldest = f", oldest {span(row.oldest_age)}" if row.oldest_age is not None else ""
    workers = f"{row.now.workers} worker{'' if row.now.workers == 1 else 's'}"
    text = f"{row.now.queued:,} queued, {row.now.in_flight:,} in flight, {row.now.scheduled:,} scheduled{oldest}"
    return f"{text}; {click.style(row.problem, fg='red', bold=True) if row.problem else workers}"


def _of_continuity(found: Continuity | None) -> Iterator[tuple[str, str]]:
    if found is not None and (text := found.summary()):
        yield "DATA LOST", f"{text}; `aquilax-feedback reconcile` says more"
    if found is not None and (lost := found.lost_hold) is not None:
        yield "HOLD LOST", f"Redis has lost the hold by hand: {shown(lost.comment)}, by {shown(lost.actor)}"


def _of_table(look: Status) -> Iterator[tuple[str, str]]:
    if look.states is None:
        yield "dead letters", f"not known: {look.table_problem}"
    else:
        yield "dead letters", ", ".join(f"{number:,} {state}" for state, number in look.states.items())


def _of_work(snapshot: Snapshot, rates: Rates | None) -> Iterator[tuple[str, str]]:
    if snapshot.hold is not None:
        yield "hold", _hold(snapshot.hold, snapshot.at)
        yield from _automatic(snapshot.hold)
    yield from _workers(snapshot)
    if rates is not None:
        ended = f"{rates.ended:,.1f}/s ended, of these {rates.delivered:,.1f}/s delivered"
        yield "rates", f"{rates.accepted:,.1f}/s accepted, {ended} (over {span(rates.over)})"
        if (drained_in := rates.drained_in(snapshot)) is not None:
            yield "drained", f"in about {span(drained_in)}"


def _hold(hold: HoldState, now: datetime, *, ends: str = "`aquilax-feedback resume` ends it") -> str:
    text = [f"{shown(hold.comment)} ({hold.kind.value})"]
    text += [f"for {span(now - hold.since)}"] if hold.since else []
    text += [f"by {shown(hold.actor)}"] if hold.actor else []
    if hold.probe_at is None:
        text.append(f"no probes: {shown(ends)}")
    else:
        due = f"in {span(hold.probe_at - now)}" if hold.probe_at > now else "now"
        text.append(f"{hold.probes:,} probes, the next one {due}")
    return ", ".join(text)


def _automatic(hold: HoldState) -> Iterator[tuple[str, str]]:
    """What a hold that has begun by itself needs, also where an operator holds too."""
    if hold.beneath is not None:
        yield "", f"beneath it, begun by itself: {shown(hold.beneath.comment)} ({hold.beneath.kind.value})"
    if hold.automatic is not None:
        yield "", f"to end its cause: {fix_of(hold.automatic.kind)}"


def _workers(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Who is alive, who is dead and what it still holds; of none, what to do."""
    problem = no_worker(snapshot)
    if problem is not None:
        yield "workers", click.style(problem.summary, fg="red", bold=True)
        yield "", f"→ {problem.fix}"
    elif snapshot.alive:
        yield "workers", f"{snapshot.workers}, which hold {sum(lease.holds for lease in snapshot.alive):,}"
    else:
        yield "workers", "none"
    for lease in snapshot.alive:
        yield "", f"{shown(lease.name)} holds {lease.holds:,}, lease for {span(lease.lease_left)}"
    for lease in snapshot.dead:
        yield "", f"dead: {shown(lease.name)} holds {lease.holds:,}, lease ended {span(lease.lease_left)} ago"


def _replays(attended: Attended | None) -> Iterator[tuple[str, str]]:
    if attended is None or not attended.active:
        return
    paused = f", {attended.paused:,} of them paused" if attended.paused else ""
    yield "replays", f"{attended.active:,} not ended{paused}"
    if attended.problem:
        yield "", click.style(attended.problem, fg="yellow", bold=True)
        yield "", f"→ {attended.fix}"
