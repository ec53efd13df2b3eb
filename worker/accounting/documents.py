"""The accounts in plain values, under the names that programs of others read: add to them, don't rename them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from worker.accounting.balance import ENDS, PLACES
from worker.accounting.snapshot import text_of
from worker.accounting.worker_presence import no_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from worker.accounting.continuity import Continuity
    from worker.accounting.integrity import IntegrityCheck
    from worker.accounting.reconcile import Report
    from worker.accounting.scheduled import Scheduled
    from worker.accounting.snapshot import Rates, Snapshot
    from worker.accounting.strays import Strays

__all__ = ["RECONCILE_KEYS", "reconcile_record", "seconds_of", "status_record"]

RECONCILE_KEYS: Final = (
    "at",
    "balances",
    "accepted",
    "uncounted",
    *ENDS,
    *PLACES,
    "missing",
    "partitions",
    "redis_data",
    "no_messages",
    "orphaned",
    "unreadable",
    "strays",
    "dangling_index",
    "dangling_held",
    "dead_letters",
    "database",
    "status",
    "redis",
    "repaired",
)
"""The keys of a reconciliation, also of one that could reach no server."""


def status_record(
    snapshot: Snapshot | None,
    rates: Rates | None,
    states: Mapping[str, int] | None,
    *,
    redis_problem: str,
    table_problem: str,
    scheduled: Scheduled | None = None,
    replays: Mapping[str, Any] | None = None,
    strays: Strays | None = None,
    continuity: Continuity | None = None,
    partitions: Sequence[Mapping[str, Any]] = (),
    held_orgs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the status as JSON can carry it. What can't be asked is null.

    Args:
        snapshot: The queue; None if Redis is unavailable.
        rates: How fast it goes, if that is known.
        states: The rows of the dead-letter table by state; None if the database is unavailable.
        redis_problem: Why Redis can't be asked; '' if it was.
        table_problem: Likewise for the database.
        scheduled: Why messages are scheduled; None if Redis is unavailable.
        replays: How the replays stand that have not ended; None if that can't be told.
        strays: The lists with feedback that no worker reads; None if not looked for.
        continuity: Whether Redis has the data that it had; None if that can't be told, or was not looked for.
        partitions: How each of several partitions stands.
        held_orgs: Which orgs are held; None if that can't be told.
    """
    whole = None if snapshot is None or not snapshot.is_whole else snapshot
    return {
        **{name: None if whole is None else read(whole) for name, read in _SUMS.items()},
        **{name: None if snapshot is None else read(snapshot) for name, read in _OF_SNAPSHOT.items()},
        "redis": _server(redis_problem),
        "database": _server(table_problem),
        "scheduled_for": None if scheduled is None or whole is None else scheduled.to_record(),
        "held_orgs": held_orgs,
        "dead_letters": None if states is None else dict(states),
        "redis_data": _redis_data(continuity),
        "replays": replays,
        "partitions": None if snapshot is None else list(partitions),
        "strays": None if snapshot is None or strays is None else strays_record(strays),
        "rates": None if rates is None else _rates(rates),
        "drained_in_seconds": None if snapshot is None or rates is None else seconds_of(rates.drained_in(snapshot)),
    }


def reconcile_record(
    report: Report | None, *, redis_problem: str, repaired: Sequence[str], status: int
) -> dict[str, Any]:
    """Return a reconciliation as JSON can carry it. What can't be asked is null.

    Args:
        report: What was found; None if Redis is unavailable.
        redis_problem: Why Redis could not be read, or repaired; '' if it could.
        repaired: What was repaired, as text.
        status: The exit status.
    """
    ends = {"status": status, "redis": _server(redis_problem), "repaired": list(repaired)}
    if report is None:
        return dict.fromkeys(RECONCILE_KEYS) | ends
    return {
        "at": report.check.snapshot.at.isoformat(),
        "balances": report.balances,
        **report.balance.to_record(),
        "partitions": _balances(report),
        "redis_data": _redis_data(report.continuity),
        "no_messages": report.check.no_messages,
        **_astray(report.check),
        "strays": strays_record(report.strays),
        "dead_letters": _table(report),
        "database": _server(str(report.table_error or "")),
        **ends,
    }


def _balances(report: Report) -> list[dict[str, Any]]:
    """The equation of each of several partitions."""
    if len(report.checks) == 1:
        return []
    return [
        {"number": number, "at": found.snapshot.at.isoformat(), **found.balance.to_record()}
        for number, found in enumerate(report.checks)
    ]


def _redis_data(found: Continuity | None) -> dict[str, Any] | None:
    if found is None:
        return None
    known = None if found.known is None else found.known.at.isoformat()
    lost = [part.number for part in found.lost if part.number is not None]
    return {"kind": found.kind.value, "last_seen": known, "missing_at_least": found.missing, "lost_partitions": lost}


def _astray(found: IntegrityCheck) -> dict[str, Any]:
    orphaned = sorted(found.orphaned.items())
    return {
        "orphaned": [{"delivery_tag": text_of(tag), "request_id": request_id} for tag, request_id in orphaned],
        "unreadable": [{"delivery_tag": text_of(tag)} for tag in sorted(found.unreadable)],
        "dangling_index": [{"delivery_tag": text_of(tag)} for tag in sorted(found.index)],
        "dangling_held": [
            {"delivery_tag": text_of(tag), "holder": text_of(holder)} for holder, tag in sorted(found.held)
        ],
    }


def strays_record(strays: Strays) -> list[dict[str, Any]]:
    """Return the lists that no worker reads as JSON can carry them."""
    return [{"list": stray.name, "entries": stray.entries, "setting": stray.setting} for stray in strays.lists]


def _table(report: Report) -> dict[str, Any] | None:
    table = report.table
    if table is None:
        return None
    return {
        "inserted": report.inserted,
        "rows": report.rows,
        "pruned": table.pruned,
        "missing": report.rows_missing,
        "by_state": dict(table.by_state),
        "by_reason": dict(table.by_reason),
        "stuck_replaying": [row.row_id for row in report.stuck],
    }


def _server(problem: str) -> dict[str, Any]:
    return {"up": not problem, "problem": problem or None}


def _count(name: str, snapshot: Snapshot) -> int:
    return snapshot.counts.get(name, 0)


def _workers(snapshot: Snapshot) -> dict[str, Any]:
    problem = no_worker(snapshot)
    return {
        "alive": snapshot.workers,
        "dead": len(snapshot.dead),
        "held_by_dead": sum(holder.holds for holder in snapshot.dead),
        "problem": None if problem is None else problem.summary,
        "fix": None if problem is None else problem.fix,
    }


def _holders(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "name": holder.name,
            "holds": holder.holds,
            "lease_left_seconds": holder.lease_left.total_seconds(),
            "alive": holder.is_alive,
        }
        for holder in snapshot.holders
    ]


def _rates(rates: Rates) -> dict[str, float]:
    return {
        "accepted_per_second": rates.accepted,
        "ended_per_second": rates.ended,
        "delivered_per_second": rates.delivered,
        "over_seconds": rates.over.total_seconds(),
    }


def _age(snapshot: Snapshot) -> timedelta | None:
    return None if snapshot.oldest is None else snapshot.at - snapshot.oldest


def seconds_of(duration: timedelta | None) -> float | None:
    """Return a duration in seconds; None if it is not known."""
    return None if duration is None else duration.total_seconds()


_SUMS: Final[Mapping[str, Callable[[Snapshot], Any]]] = {
    "queued": lambda now: now.queued,
    "in_flight": lambda now: now.in_flight,
    "scheduled": lambda now: now.scheduled,
    "oldest_enqueued_at": lambda now: None if now.oldest is None else now.oldest.isoformat(),
    "oldest_age_seconds": lambda now: seconds_of(_age(now)),
    **{name: partial(_count, name) for name in ("accepted", *ENDS, "retried", "snoozed")},
    "dead_by_reason": lambda now: now.dead_by_reason,
}
"""What the status says of all partitions together: null in all of it while one of them is unavailable."""

_OF_SNAPSHOT: Final[Mapping[str, Callable[[Snapshot], Any]]] = {
    "at": lambda now: now.at.isoformat(),
    "hold": lambda now: None if now.hold is None else now.hold.as_dict(),
    "workers": _workers,
    "holders": _holders,
}
"""What it says of the queue besides: null while Redis is unavailable."""
