"""What must confirm an event before `enqueue` returns, against what the broker's Redis has: replicas, and a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

from worker.operations.doctor.finding import Finding, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.settings import Settings

__all__ = ["ask_configuration", "look_at_confirmation"]

_REPLICAS: Final = "enqueue replicas"
_FSYNC: Final = "enqueue fsync"

_MIN_REPLICAS: Final = "min-replicas-to-write"
_APPENDFSYNC: Final = "appendfsync"

_HAS_WAITAOF: Final = (7, 2)

_IN_STEP: Final = 10
"""Seconds since a replica was last heard of, up to which it counts: replicas report once a second."""


def ask_configuration(client: redis.Redis) -> dict[str, str]:
    """Return what Redis is configured to do with writes; nothing if the login may not ask."""
    try:
        found = [client.config_get(name) for name in (_MIN_REPLICAS, _APPENDFSYNC)]
    except redis.ResponseError:  # also where a provider has renamed the command
        return {}
    return {_text(name): _text(value) for each in found for name, value in each.items()}


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def look_at_confirmation(
    info: Mapping[str, Any], configuration: Mapping[str, str], settings: Settings
) -> Iterator[Finding]:
    """Check whether the master can confirm what the settings ask for.

    Args:
        info: What INFO told.
        configuration: What `ask_configuration` returned.
        settings: How many replicas must have an event, and whether disks must.
    """
    if wanted := settings.feedback_enqueue_replicas:
        yield _replicas(wanted, _in_step(info), configuration.get(_MIN_REPLICAS))
    if settings.feedback_enqueue_fsync:
        yield _fsync(info, configuration.get(_APPENDFSYNC))


def _in_step(info: Mapping[str, Any]) -> int:
    replicas = [value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)]
    return sum(replica.get("state") == "online" and int(replica.get("lag", 0)) <= _IN_STEP for replica in replicas)


def _replicas(wanted: int, there: int, least: str | None) -> Finding:
    asked = f"FEEDBACK_ENQUEUE_REPLICAS is {wanted}"
    if there < wanted:
        fix = "start the replica that is missing or lags in INFO replication; or lower FEEDBACK_ENQUEUE_REPLICAS"
        return red(_REPLICAS, f"{asked}, and {there} are in step: no event is taken", fix=fix)
    if least is not None and int(least) > there:
        fix = f"start more replicas, or CONFIG SET {_MIN_REPLICAS} {wanted}, and in redis.conf"
        return red(_REPLICAS, f"{_MIN_REPLICAS} is {least}, and {there} are in step: Redis refuses events", fix=fix)
    if least is not None and int(least) < wanted:
        summary = f"{asked}, and {_MIN_REPLICAS} is {least}: Redis takes events that its replicas can't confirm"
        return yellow(_REPLICAS, summary, fix=f"CONFIG SET {_MIN_REPLICAS} {wanted}, and in redis.conf")
    if there == wanted:
        fix = "start one more; meanwhile a spool keeps the events (FEEDBACK_SPOOL_DIR)"
        return yellow(_REPLICAS, f"{asked}, and no more are in step: if one is lost, no event is taken", fix=fix)
    return green(_REPLICAS, f"{asked}, and {there} are in step")


def _fsync(info: Mapping[str, Any], policy: str | None) -> Finding:
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2] if part.isdigit())
    if version < _HAS_WAITAOF:
        fix = "upgrade it to Redis 7.2 or newer, or to Valkey; or set FEEDBACK_ENQUEUE_FSYNC=no"
        return red(_FSYNC, "FEEDBACK_ENQUEUE_FSYNC is yes, and Redis has no WAITAOF: no event is taken", fix=fix)
    if not info.get("aof_enabled"):
        fix = "CONFIG SET appendonly yes, and `appendonly yes` in redis.conf; or set FEEDBACK_ENQUEUE_FSYNC=no"
        return red(_FSYNC, "FEEDBACK_ENQUEUE_FSYNC is yes, without an append-only file: no event is taken", fix=fix)
    fix = f"CONFIG SET {_APPENDFSYNC} always, and in redis.conf; or set FEEDBACK_ENQUEUE_FSYNC=no"
    if policy == "no":
        return red(_FSYNC, f"{_APPENDFSYNC} is no: no enqueue is confirmed", fix=fix)
    if policy == "everysec":
        summary = f"{_APPENDFSYNC} is everysec: an enqueue is confirmed after a second or two, if its budget is longer"
        return yellow(_FSYNC, summary, fix=fix)
    return green(_FSYNC, "it syncs each event to its disk" if policy else "it has WAITAOF, and an append-only file")
