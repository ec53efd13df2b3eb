"""The sum of several partitions, and how they are told one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import redis

from worker.accounting.backlog import Backlog
from worker.accounting.snapshot import LeaseHolder, PartitionLook, Snapshot, sum_of
from worker.delivery.hold import HoldKind, HoldState
from worker.operations.partitions import PartitionStatus, partition_statuses, partitions_outage, shown_first

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
HELD = HoldState(kind=HoldKind.OPERATOR, comment="maintenance", since=NOON, actor="ada", probes=0, probe_at=None)


def lease(name: str, *, holds: int = 0, left: int = 20) -> LeaseHolder:
    """A lease that lasts so many seconds."""
    return LeaseHolder(name=name, holds=holds, lease_left=timedelta(seconds=left))


def moment(*holders: LeaseHolder, queued: int = 0, hold: HoldState | None = None, **counts: int) -> Snapshot:
    """A partition's."""
    return Snapshot(
        at=NOON,
        counts=counts,
        queued=queued,
        in_flight=0,
        scheduled=0,
        oldest=NOON - timedelta(minutes=queued) if queued else None,
        hold=hold,
        holders=holders,
    )


def whole(*moments: Snapshot | None) -> Snapshot:
    """The sum; None is one that is away."""
    return sum_of(
        [
            PartitionLook(number=number, snapshot=one, error=None if one else redis.ConnectionError("away"))
            for number, one in enumerate(moments)
        ]
    )


def statuses(*moments: Snapshot | None) -> tuple[PartitionStatus, ...]:
    """How each stands."""
    return partition_statuses(whole(*moments), [("a", 1)], lambda text: text)


def test_what_there_is_once_is_no_sum() -> None:
    """Which data it is says the first one; each of the others has a number of its own."""
    counts = whole(
        moment(accepted=3, generation=11, hold_changes=2), moment(accepted=4, generation=99), moment(delivered=5)
    ).counts

    assert counts == {"accepted": 7, "delivered": 5, "generation": 11, "hold_changes": 2}


def test_a_worker_is_one_in_all_partitions() -> None:
    """By its process; one whose lease has ended in one of them only is told as both, with what it holds there."""
    now = whole(
        moment(lease("h:1:a.1:n", holds=2, left=9), lease("h:2:b.1:m", holds=1)),
        moment(lease("h:1:a.2:n", holds=3, left=5), lease("h:2:b.2:m", holds=4, left=-7)),
    )

    assert [(one.name, one.holds, one.lease_left.total_seconds()) for one in now.alive] == [
        ("h:1:a:n", 5, 5),
        ("h:2:b:m", 1, 20),
    ]
    assert [(one.name, one.holds, one.node) for one in now.dead] == [("h:2:b:m", 4, "m")]
    assert now.workers == 2


def test_the_oldest_is_the_oldest_of_all() -> None:
    """Of those that have any."""
    assert whole(moment(), moment(queued=3), moment(queued=7)).oldest == NOON - timedelta(minutes=7)
    assert whole(moment(), moment()).oldest is None


def test_without_the_first_one_a_copy_tells_the_hold() -> None:
    """Each partition has one; so an autoscaler adds no workers."""
    now = whole(None, moment(queued=5, hold=HELD))

    assert (now.hold, now.is_whole) == (HELD, False)
    assert Backlog.of(now, NOON - timedelta(hours=1)) == Backlog(messages=0, age=timedelta(), unfinished=6)


def test_a_partition_that_is_away_stops_no_worker() -> None:
    """It counts as work; what the others have is the backlog."""
    assert Backlog.of(whole(moment(queued=2), None, None), NOON).unfinished == 4
    assert Backlog.of(whole(moment(queued=2), None, None), NOON).messages == 2


def test_partitions_with_one_reason_are_told_together() -> None:
    """A primary has several."""
    assert partitions_outage(whole(moment(), None, None)) == "partitions 01, 02: away"
    assert partitions_outage(whole(moment(), None)) == "partition 01: away"
    assert partitions_outage(whole(moment(), moment())) == ""


def test_those_that_tell_most_are_shown() -> None:
    """What is wrong, then where most waits, in the order of their numbers; of the rest a line."""
    worker = lease("h:1:a.1:n")
    rows = statuses(*(moment(worker, queued=number) for number in range(10)), None, moment(queued=1))

    few, rest = shown_first(rows, most=4)

    assert [row.number for row in few] == [8, 9, 10, 11]
    assert [row.brief for row in few] == ["", "", "unavailable", "no living worker consumes it"]
    assert rest == "8 more: 28 queued, 0 in flight, 0 scheduled"
    assert shown_first(rows, most=1)[1].endswith("; 1 of them are not in order")


def test_those_that_are_alike_and_empty_are_one_line() -> None:
    """Another number of workers makes one differ."""
    worker = lease("h:1:a.1:n")
    rows = statuses(moment(worker), moment(worker), moment())

    assert [row.number for row in shown_first(rows)[0]] == [2]
    assert shown_first(statuses(moment(), moment())) == ([], "in all: 0 queued, 0 in flight, 0 scheduled")
    assert [row.number for row in shown_first(rows, alike=True)[0]] == [0, 1, 2]


def test_a_row_in_json_has_null_for_what_is_not_known() -> None:
    """Its node, too, where the cluster does not tell."""
    first, second = (row.to_record() for row in statuses(moment(queued=2), None))

    assert first == {
        "number": 0,
        "node": "a:1",
        "up": True,
        "queued": 2,
        "in_flight": 0,
        "scheduled": 0,
        "oldest_age_seconds": 120,
        "workers": 0,
        "missing": -2,
        "problem": "no living worker consumes it",
    }
    assert second == dict.fromkeys(first) | {"number": 1, "up": False, "problem": "unavailable: away"}
