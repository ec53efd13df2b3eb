"""The accounts in plain values, under the names that programs of others read: add to them, don't rename them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from worker.accounting.balance import ENDS, PLACES
from worker.accounting.worker_presence import no_worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from worker.accounting.continuity import Continuity
    from worker.accounting.integrity import IntegrityCheck
    from worker.accounting.rates import Rates
    from worker.accounting.reconcile import Report
    from worker.accounting.scheduled import Scheduled
    from worker.accounting.snapshot import Snapshot
    from worker.accounting.strays import Strays

__all__ = ["RECONCILE_KEYS", "reconcile_record", "status_record"]

_COUNTS: Final = ("accepted", *ENDS, "retried", "snoozed")

RECONCILE_KEYS: Final = (
    "at",
    "balances",
    "accepted",
    "uncounted",
    *ENDS,
    *PLACES,
    "missing",
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
    """
    return {
        "at": None if snapshot is None else snapshot.at.isoformat(),
        "redis": _server(redis_problem),
        "database": _server(table_problem),
        **_waiting(snapshot, scheduled),
        **_counted(snapshot),
        "dead_letters": None if states is None else dict(states),
        "hold": None if snapshot is None or snapshot.hold is None else snapshot.hold.as_dict(),
        "workers": None if snapshot is None else _workers(snapshot),
        "redis_data": _redis_data(continuity),
        "holders": None if snapshot is None else _holders(snapshot),
        "replays": replays,
        "strays": None if snapshot is None or strays is None else strays_record(strays),
        **_speed(snapshot, rates),
    }


def _speed(snapshot: Snapshot | None, rates: Rates | None) -> dict[str, Any]:
    return {
        "rates": None if rates is None else _rates(rates),
        "drained_in_seconds": None if snapshot is None or rates is None else _drained_in(snapshot, rates),
    }


def _counted(snapshot: Snapshot | None) -> dict[str, Any]:
    return {
        **{name: None if snapshot is None else snapshot.counts.get(name, 0) for name in _COUNTS},
        "dead_by_reason": None if snapshot is None else snapshot.dead_by_reason,
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
        "redis_data": _redis_data(report.continuity),
        "no_messages": report.check.no_messages,
        **_astray(report.check),
        "strays": strays_record(report.strays),
        "dead_letters": _table(report),
        "database": _server(str(report.table_error or "")),
        **ends,
    }


def _redis_data(found: Continuity | None) -> dict[str, Any] | None:
    if found is None:
        return None
    known = None if found.known is None else found.known.at.isoformat()
    return {"kind": found.kind.value, "last_seen": known, "missing_at_least": found.missing}


def _astray(found: IntegrityCheck) -> dict[str, Any]:
    orphaned = sorted(found.orphaned.items())
    return {
        "orphaned": [{"delivery_tag": _text(tag), "request_id": request_id} for tag, request_id in orphaned],
        "unreadable": [{"delivery_tag": _text(tag)} for tag in sorted(found.unreadable)],
        "dangling_index": [{"delivery_tag": _text(tag)} for tag in sorted(found.index)],
        "dangling_held": [{"delivery_tag": _text(tag), "holder": _text(holder)} for holder, tag in sorted(found.held)],
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


def _waiting(snapshot: Snapshot | None, scheduled: Scheduled | None) -> dict[str, Any]:
    oldest = None if snapshot is None else snapshot.oldest
    return {
        "queued": None if snapshot is None else snapshot.queued,
        "in_flight": None if snapshot is None else snapshot.in_flight,
        "scheduled": None if snapshot is None else snapshot.scheduled,
        "oldest_enqueued_at": _iso(oldest),
        "oldest_age_seconds": None if snapshot is None or oldest is None else (snapshot.at - oldest).total_seconds(),
        "scheduled_for": None if scheduled is None else scheduled.to_record(),
    }


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


def _drained_in(snapshot: Snapshot, rates: Rates) -> float | None:
    drained_in = rates.drained_in(snapshot)
    return None if drained_in is None else drained_in.total_seconds()


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
