from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis

from worker.operations.doctor.broker import Server, ask_server, broker_unavailable, look_at_broker

if TYPE_CHECKING:
    from tests.support.processes import RedisServer
    from worker.operations.doctor.finding import Finding

WELL: dict[str, Any] = {
    "redis_version": "7.4.1",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "maxmemory_policy": "noeviction",
    "maxmemory": 1000,
    "used_memory": 500,
    "role": "master",
    "connected_slaves": 0,
}


def _findings(*, ahead: timedelta = timedelta(), **changes: Any) -> list[Finding]:
    return list(look_at_broker(Server(info=WELL | changes, ahead=ahead)))


def test_a_redis_that_is_well_is_green() -> None:
    """Seven looks at it."""
    assert [finding.level for finding in _findings()] == ["green"] * 7


@pytest.mark.parametrize(
    ("changes", "check", "level", "fix"),
    [
        ({"redis_version": "6.0.16"}, "broker", "red", "upgrade it to Redis 6.2"),
        ({"aof_enabled": 0}, "broker persistence", "yellow", "appendonly yes"),
        ({"aof_last_write_status": "err"}, "broker disk", "red", "make room on its disk"),
        ({"rdb_last_bgsave_status": "err"}, "broker disk", "red", "make room on its disk"),
        ({"aof_last_bgrewrite_status": "err"}, "broker disk", "yellow", "make room on its disk"),
        ({"maxmemory_policy": "volatile-ttl"}, "broker eviction", "red", "noeviction"),
        ({"used_memory": 749}, "", "green", ""),
        ({"used_memory": 750}, "broker memory", "yellow", "maxmemory"),
        ({"used_memory": 900}, "broker memory", "red", "maxmemory"),
        ({"maxmemory": 0, "total_system_memory": 510}, "broker memory", "red", "maxmemory"),
        ({"role": "slave"}, "broker replicas", "red", "name the master"),
        ({"connected_slaves": 2}, "broker replicas", "yellow", "min-replicas-to-write 1"),
        ({"connected_slaves": 2, "min_slaves_good_slaves": 2}, "", "green", ""),
        ({"ahead": timedelta(seconds=9)}, "", "green", ""),
        ({"ahead": timedelta(seconds=-11)}, "broker clock", "yellow", "NTP"),
        ({"ahead": timedelta(minutes=6)}, "broker clock", "red", "NTP"),
    ],
)
def test_what_is_wrong_is_named_alone(changes: dict[str, Any], check: str, level: str, fix: str) -> None:
    """With what to do about it."""
    wrong = [finding for finding in _findings(**changes) if finding.level != "green"]

    assert [(one.check, one.level) for one in wrong] == ([(check, level)] if check else [])
    assert all(fix in one.fix for one in wrong)


@pytest.mark.parametrize(
    ("told", "replicas", "level", "says"),
    [
        ({"cluster_state": "ok", "cluster_known_nodes": "6"}, 2, "green", "6 nodes, all slots are served"),
        ({"cluster_state": "fail"}, 2, "red", "it is down"),
        ({"cluster_state": "ok", "cluster_slots_pfail": "5461"}, 2, "yellow", "5,461 slots are of nodes that do not"),
        ({"cluster_state": "ok"}, 0, "yellow", "has no replica"),
    ],
)
def test_a_cluster_is_looked_at_as_one(told: dict[str, str], replicas: int, level: str, says: str) -> None:
    """Beside the primary that has the queue."""
    info = WELL | {"connected_slaves": replicas, "min_slaves_good_slaves": replicas}
    *others, found = look_at_broker(Server(info=info, ahead=timedelta(), cluster=told))

    assert {finding.level for finding in others} == {"green"}
    assert (found.check, found.level) == ("broker cluster", level)
    assert says in found.summary


def test_a_valkey_says_what_it_is() -> None:
    """Its other version is that of the Redis which it is compatible with."""
    assert _findings(redis_version="7.2.4", valkey_version="9.1.2")[0].summary == "Valkey 9.1.2 answers"


def test_a_clock_that_is_wrong_is_seen(broker: RedisServer) -> None:
    """This machine's, or Redis': whichever it is, they differ."""
    with broker.client() as client:
        well = ask_server(client)
        behind = ask_server(client, now=lambda: datetime.now(UTC) - timedelta(hours=1))

    assert abs(well.ahead) < timedelta(seconds=5)
    assert timedelta(minutes=59) < behind.ahead < timedelta(minutes=61)
    assert {finding.check: finding.level for finding in look_at_broker(behind)}["broker clock"] == "red"


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        (redis.AuthenticationError("WRONGPASS"), "correct the password"),
        (redis.BusyLoadingError("LOADING"), "wait"),
        (redis.ConnectionError("refused"), "start Redis"),
        (redis.TimeoutError("timeout"), "start Redis"),
        (redis.ResponseError("this user has no permissions to run the 'time' command"), "+time"),
    ],
)
def test_a_redis_that_can_not_be_asked_is_red(error: redis.RedisError, fix: str) -> None:
    """Each reason has a fix of its own."""
    finding = broker_unavailable(error, "redis://:***@host:6379/0")

    assert (finding.check, finding.level) == ("broker", "red")
    assert fix in finding.fix
    assert "redis://:***@host:6379/0" in finding.summary
