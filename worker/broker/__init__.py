"""A Redis transport for Celery that loses nothing: Kombu's own, with another way to hand messages over.

It keeps Kombu's keys and Kombu's behaviour, so plain Celery workers, clients and Flower share the Redis. What differs:
a message moves from its queue to a worker in one step (`lua/fetch.lua`), the worker owns it by a lease that it renews
(`lease.py`), and a message that is not due yet waits in Redis, not in a worker's memory.
"""

from __future__ import annotations

from typing import Final

from kombu.transport import (
    TRANSPORT_ALIASES,
    _transport_cache,  # Kombu has no public way to look a name up once more
)

__all__ = ["install"]

_OURS: Final = {
    "redis": "worker.broker.transport:Transport",
    "rediss": "worker.broker.transport:Transport",
    "sentinel": "worker.broker.transport:SentinelTransport",
    "rediscluster": "worker.broker.transport:ClusterTransport",
}


def install() -> None:
    """Let this process's connections to a Redis, by sentinels too, and to a cluster take this transport.

    The names stay what they are: Flower and Celery know ``redis`` by its name.
    """
    import worker.broker.inspect_scheduled  # noqa: F401, PLC0415 - importing it registers the command; Celery's worker is slow to import

    TRANSPORT_ALIASES.update(_OURS)
    for name in _OURS:  # another app of this process may have looked one up before, and Kombu looks each up once
        _transport_cache.pop(name, None)
