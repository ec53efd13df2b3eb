"""A moment is one, with the sets of all holders, also if one comes while it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.support.places import Places, places_of
from worker.accounting import integrity, repair, snapshot
from worker.accounting.holders import with_holders
from worker.accounting.integrity import check
from worker.accounting.reconcile import Report
from worker.accounting.repair import repair_redis
from worker.accounting.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.processes import RedisServer

pytestmark = pytest.mark.usefixtures("keys_are_declared")


@pytest.fixture
def places(broker: RedisServer) -> Iterator[Places]:
    """The places of an empty queue."""
    with places_of(broker) as places:
        yield places


def before_each_ask(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *happens: Callable[[], object]
) -> list[int]:
    """Let something happen before each call of a script; returned are the numbers of the keys of its calls."""
    script, left, asked = getattr(module, name), list(happens), list[int]()

    def ask(client: redis.Redis, keys: list[Any], arguments: list[Any]) -> Any:
        if left:
            left.pop(0)()
        asked.append(len(keys))
        return script(client, keys, arguments)

    monkeypatch.setattr(module, name, ask)
    return asked


def test_a_snapshot_without_workers_is_one_call(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one more where there are some, whatever their number."""
    asked = before_each_ask(monkeypatch, snapshot, "_SNAPSHOT")

    assert take_snapshot(places.partitions).holders == ()
    assert len(asked) == 1
    for number in range(20):
        places.hold(f"host:{number}:a", f"tag-{number}")
    assert len(take_snapshot(places.partitions).holders) == 20
    assert len(asked) == 3


def test_a_worker_that_comes_meanwhile_is_in_the_snapshot(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it holds."""
    places.hold("host:1:a", "tag-1")
    asked = before_each_ask(
        monkeypatch, snapshot, "_SNAPSHOT", lambda: None, lambda: places.hold("host:2:b", "tag-2", "tag-3")
    )

    seen = take_snapshot(places.partitions)

    assert {(holder.name, holder.holds) for holder in seen.holders} == {("host:1:a", 1), ("host:2:b", 2)}
    assert len(asked) == 3


def test_a_worker_that_goes_meanwhile_is_not(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that was declared and is not there any more does not matter."""
    places.hold("host:1:a", "tag-1")
    places.hold("host:2:b", "tag-2")
    before_each_ask(
        monkeypatch, snapshot, "_SNAPSHOT", lambda: None, lambda: places.client.zrem("unacked_leases", "host:2:b")
    )

    assert [holder.name for holder in take_snapshot(places.partitions).holders] == ["host:1:a"]


def test_what_a_new_worker_holds_is_not_taken_for_orphaned(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a message, which is under no lease that was declared."""
    (message,) = places.enqueue()
    places.client.delete("feedback")
    before_each_ask(
        monkeypatch, integrity, "_CHECK", lambda: places.take(message, "tag-1", holder="host:1:a", index=False)
    )

    found = check(places.client)

    assert (found.hangs_together, found.balance.missing) == (True, 0)


def test_what_a_new_worker_holds_is_not_returned(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was orphaned when it was looked at, and is not when it is repaired; the other one goes back."""
    first, second = places.enqueue(2)
    places.client.delete("feedback")
    places.take(first, "tag-1", index=False)
    places.take(second, "tag-2", index=False, queue="feedback")
    report = Report(checks=(check(places.client),))
    assert set(report.check.orphaned) == {b"tag-1", b"tag-2"}
    before_each_ask(monkeypatch, repair, "_RETURN", lambda: places.hold("host:1:a", "tag-1"))

    told = list(repair_redis(places.partitions, report))

    assert [line.split()[2] for line in told] == ["tag-2"]
    assert places.client.hkeys("unacked") == [b"tag-1"]


def test_what_is_orphaned_goes_back_to_its_own_queue(places: Places) -> None:
    """Also if that is no queue of ours, and workers are there."""
    (message,) = places.enqueue()
    places.client.delete("feedback")
    places.hold("host:1:a", "tag-9")
    places.take(message, "tag-1", index=False, queue="orders")

    assert list(repair._return(places.client, [b"tag-1"])) == [b"tag-1"]
    assert places.client.llen("orders") == 1


def test_workers_that_keep_coming_are_no_loop_without_end() -> None:
    """The caller is told that Redis can't be asked now."""
    asked: list[int] = []

    def ever_another(_names: object) -> list[Any]:
        asked.append(1)
        return [[b"host:%d:a" % len(asked)]]

    with pytest.raises(redis.RedisError, match="another worker each time"):
        with_holders(ever_another)

    assert len(asked) == 5
