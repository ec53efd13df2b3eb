"""The broker's Redis: what stands in it must be there tomorrow, under keys of the right type, where workers look."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import redis

from worker.accounting.key_types import KeyProblem, WrongKeyType, find_odd_values, find_wrong_types
from worker.accounting.strays import find_strays
from worker.broker.server_errors import advice
from worker.operations.doctor.finding import Finding, green, red, yellow
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from worker.clients.redis.partitions import Partitions

__all__ = ["Server", "ask_server", "broker_unavailable", "look_at_broker", "look_at_keys"]

_OLDEST: Final = (6, 2)

_MEMORY_SOON: Final = 0.75

_MEMORY_NOW: Final = 0.9
"""Shares of the memory. The rest is what a backlog may still grow by, at some 0.65 KB an event."""

_CLOCK_SOON: Final = timedelta(seconds=10)

_CLOCK_NOW: Final = timedelta(minutes=5)
"""From five minutes on a backend's vote counts as cast when it was enqueued, as `docs/guarantees.md` has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What Redis says of itself.

    Attributes:
        info: What INFO told; nothing if the login may not ask.
        ahead: By how much its clock is ahead of this machine's; negative if it is behind.
        cluster: What CLUSTER INFO told; nothing if it is in no cluster, or the login may not ask.
    """

    info: Mapping[str, Any]
    ahead: timedelta
    cluster: Mapping[str, str] = field(default_factory=dict)


def ask_server(client: redis.Redis, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Server:
    """Ask Redis for what the checks need. Raises `redis.RedisError` if it is unavailable, or refuses."""
    asked_at = now()
    seconds, microseconds = client.time()
    here = asked_at + (now() - asked_at) / 2
    there = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    try:
        info = client.info()
    except redis.exceptions.NoPermissionError:
        info = {}
    return Server(info=info, ahead=there - here, cluster=_ask_cluster(client) if info.get("cluster_enabled") else {})


def _ask_cluster(client: redis.Redis) -> Mapping[str, str]:
    try:
        told: bytes = client.execute_command("CLUSTER", "INFO")
    except redis.exceptions.NoPermissionError:
        return {}
    pairs = (line.partition(":") for line in str(told, "utf-8").splitlines())
    return {name: value for name, _, value in pairs}


def look_at_broker(server: Server) -> Iterator[Finding]:
    """Check what Redis says of itself."""
    if not server.info:
        summary = "it answers, and does not tell whether it keeps what it is given: the login lacks the right to INFO"
        yield yellow("broker", summary, fix="give the broker's login the right +info (ACL SETUSER)")
        yield _clock(server)
        return
    for check in (_version, _persistence, _writing, _eviction, _memory, _replicas, _clock):
        yield check(server)
    if server.cluster:
        yield _cluster(server)


def broker_unavailable(error: redis.RedisError, shown: str) -> Finding:
    """Say why Redis can't be asked, whose URL is shown without its secrets."""
    match error:
        case redis.AuthenticationError():
            summary, fix = "Redis refuses the login", "correct the password in FEEDBACK_BROKER_URL"
        case redis.BusyLoadingError():
            summary, fix = "Redis reads its file", "wait; workers go on by themselves when it is done"
        case redis.ConnectionError() | redis.TimeoutError():
            summary = f"{error}; so the queue and the workers can't be looked at"
            fix = "start Redis, or correct FEEDBACK_BROKER_URL; backends get BrokerUnavailable meanwhile"
        case WrongKeyType():
            summary, _, fix = str(error).rpartition(": ")
            return red("broker", summary, fix=fix)
        case _:
            fix = advice(str(error)) or "look up that refusal in the documentation of Redis"
            summary = "Redis refuses: " + str(error).removesuffix(f"; {fix}")
    return red("broker", f"FEEDBACK_BROKER_URL is {shown}: {summary}", fix=fix)


def _version(server: Server) -> Finding:
    compatible = str(server.info.get("redis_version", "0"))
    valkey = server.info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {compatible}"
    if _numbers(compatible) < _OLDEST:
        return red("broker", f"it answers, but is {name}", fix="upgrade it to Redis 6.2 or newer, or to Valkey")
    return green("broker", f"{name} answers")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _persistence(server: Server) -> Finding:
    if server.info.get("aof_enabled"):
        return green("broker persistence", "it keeps an append-only file")
    fix = "CONFIG SET appendonly yes, and `appendonly yes` in redis.conf"
    return yellow("broker persistence", "it has no append-only file: what it holds is gone if it dies", fix=fix)


def _writing(server: Server) -> Finding:
    check, info = "broker disk", server.info
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        return red(check, "it could not write its append-only file, and refuses events", fix=_MAKE_ROOM)
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return red(check, "its last snapshot failed: it may refuse events until one succeeds", fix=_MAKE_ROOM)
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        return yellow(check, "it could not rewrite its append-only file, which grows", fix=_MAKE_ROOM)
    return green(check, "its last writes went well")


_MAKE_ROOM: Final = "see in Redis' log why; make room on its disk, or let it write there"


def _eviction(server: Server) -> Finding:
    policy = server.info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return green("broker eviction", "it throws nothing away (noeviction)")
    summary = f"maxmemory-policy is {policy}: it throws queued feedback away when its memory is full"
    return red("broker eviction", summary, fix="CONFIG SET maxmemory-policy noeviction, and in redis.conf")


def _memory(server: Server) -> Finding:
    used, limit = int(server.info.get("used_memory", 0)), int(server.info.get("maxmemory", 0))
    whole = limit or int(server.info.get("total_system_memory", 0))
    of = "maxmemory" if limit else "its machine's memory, with no maxmemory"
    share = used / whole if whole else 0.0
    summary = f"{used / 2**20:,.0f} MiB in use, {share:.0%} of {of}"
    fix = "find out why the queue is not emptied (`aquilax-feedback status`), or give it more: CONFIG SET maxmemory"
    if share >= _MEMORY_NOW:
        return red("broker memory", f"{summary}: soon it refuses events", fix=fix)
    if share >= _MEMORY_SOON:
        return yellow("broker memory", summary, fix=fix)
    return green("broker memory", summary)


def _replicas(server: Server) -> Finding:
    check, info = "broker replicas", server.info
    if info.get("role", "master") != "master":
        fix = "name the master in FEEDBACK_BROKER_URL, or the sentinels and FEEDBACK_SENTINEL_MASTER"
        return red(check, "it is a replica, and takes no events", fix=fix)
    replicas = info.get("connected_slaves", 0)
    if not replicas:
        return green(check, "it is the master, without replicas")
    if server.cluster and replicas == 1:
        return _only_replica(server)
    if "min_slaves_good_slaves" in info:  # which INFO tells where min-replicas-to-write is set
        return green(check, f"{replicas} replicas, which it waits for")
    risk = "a master that is cut off may take events that its successor never hears of"
    fix = "CONFIG SET min-replicas-to-write 1 and min-replicas-max-lag 2, and in redis.conf"
    return yellow(check, f"{replicas} replicas, and min-replicas-to-write is 0: {risk}", fix=fix)


def _only_replica(server: Server) -> Finding:
    """In a cluster it takes the primary's place by itself, and has none then: to wait for one would be to wait long."""
    check = "broker replicas"
    if "min_slaves_good_slaves" in server.info:
        summary = "1 replica, which it waits for (min-replicas-to-write): once that has taken over, it takes no events"
        fix = "give each primary a second replica (CLUSTER REPLICATE); or CONFIG SET min-replicas-to-write 0"
        return yellow(check, f"{summary} until the other node is back", fix=fix)
    return green(check, "1 replica, which takes over if it dies")


def _cluster(server: Server) -> Finding:
    check, told = "broker cluster", server.cluster
    if told.get("cluster_state") != "ok":
        fix = "redis-cli --cluster check, on any node; start the nodes that are gone, or let their replicas take over"
        return red(check, "it is down: slots are not served, so it may take no events", fix=fix)
    failing = sum(int(told.get(name, 0)) for name in ("cluster_slots_pfail", "cluster_slots_fail"))
    if failing:
        fix = "see which nodes are gone (CLUSTER NODES); the queue is not theirs, or their replicas take over"
        return yellow(check, f"{failing:,} slots are of nodes that do not answer", fix=fix)
    if not server.info.get("connected_slaves", 0):
        summary = "the primary has no replica: if it dies, what is queued there waits until it is back"
        return yellow(check, summary, fix="give it one (CLUSTER REPLICATE), better two")
    return green(check, f"{told.get('cluster_known_nodes', '?')} nodes, all slots are served")


def _clock(server: Server) -> Finding:
    off = abs(server.ahead)
    summary = f"{span(off)} {'ahead of' if server.ahead > timedelta() else 'behind'} this machine's"
    fix = "set the clocks of this machine and of Redis' by NTP"
    if off >= _CLOCK_NOW:
        return red("broker clock", f"{summary}: if backends' are off too, the wrong vote may win", fix=fix)
    if off >= _CLOCK_SOON:
        return yellow("broker clock", summary, fix=fix)
    return green("broker clock", summary)


def look_at_keys(partitions: Partitions, *, within: float, only: Collection[int] | None = None) -> Iterator[Finding]:
    """Check the keys.

    Args:
        partitions: Redis.
        within: Seconds for looking through all their names.
        only: The numbers of the partitions that can be asked; all of them if None. For feedback that no worker reads is
            looked only where all can be.
    """
    yield _types(partitions, only)
    yield from _values(partitions, only)
    if only is None:
        yield _strays(partitions, within)


def _types(partitions: Partitions, only: Collection[int] | None) -> Finding:
    found = partitions.ask_all(find_wrong_types, only=only)
    check, wrong = "broker keys", [each for of_partition in found for each in of_partition]
    if not wrong:
        return green(check, "each has the type that it is read as")
    summary = "; ".join(one.summary for one in wrong)
    return red(check, f"{summary}: no worker starts", fix="; ".join(one.fix for one in wrong))


def _values(partitions: Partitions, only: Collection[int] | None) -> Iterator[Finding]:
    """What is odd in keys that have their type: those that have another one are told of already."""
    for found in partitions.ask_all(_odd_values, only=only):
        yield from (red("broker keys", odd.summary, fix=odd.fix) for odd in found)


def _odd_values(client: redis.Redis) -> list[KeyProblem]:
    found: list[KeyProblem] = []
    with suppress(redis.ResponseError):
        found.extend(find_odd_values(client))
    return found


def _strays(partitions: Partitions, within: float) -> Finding:
    check, strays = "stray feedback", find_strays(partitions, within=within)
    if strays.lists:
        summary = "; ".join(stray.summary for stray in strays.lists)
        fix = "correct the client; `aquilax-feedback reconcile --repair` moves what is there to the queue"
        return red(check, f"no worker reads {summary}", fix=fix)
    if not strays.complete:
        fix = "`aquilax-feedback reconcile` looks for longer; or give the feedback a Redis of its own"
        return yellow(check, "none found, but there are too many keys to look at them all", fix=fix)
    return green(check, "none: all of it is in the lists that workers read")
