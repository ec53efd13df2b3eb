"""The Lua scripts of the transport, and what others need of them to read its messages."""

from __future__ import annotations

from typing import Final

from worker.clients.redis.scripts import COUNT, JSON, TIME, Script, lua

__all__ = ["ACK", "FETCH", "HEARTBEAT", "MESSAGE", "PUBLISH", "PURGE", "QUEUES", "RECLAIM", "REQUEUE", "SCHEDULE"]

_PACKAGE: Final = "worker.broker"

MESSAGE: Final = JSON + lua(_PACKAGE, "message")
"""Reads, marks and wraps a message."""
QUEUES: Final = lua(_PACKAGE, "queue")
"""Finds the list of a message, and schedules it; after `MESSAGE`."""

FETCH: Final = Script(TIME + COUNT + MESSAGE + lua(_PACKAGE, "fetch"))
ACK: Final = Script(COUNT + MESSAGE + QUEUES + lua(_PACKAGE, "ack"))
REQUEUE: Final = Script(MESSAGE + QUEUES + lua(_PACKAGE, "requeue"))
HEARTBEAT: Final = Script(TIME + lua(_PACKAGE, "pulse", "heartbeat"))
RECLAIM: Final = Script(TIME + MESSAGE + QUEUES + lua(_PACKAGE, "pulse", "reclaim"))
SCHEDULE: Final = Script(TIME + MESSAGE + QUEUES + lua(_PACKAGE, "schedule"))
PUBLISH: Final = Script(TIME + MESSAGE + QUEUES + lua(_PACKAGE, "publish"))
PURGE: Final = Script(COUNT + MESSAGE + lua(_PACKAGE, "purge"))
