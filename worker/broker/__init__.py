"""A Redis transport for Celery that loses nothing: Kombu's own, with another way to hand messages over.

It keeps Kombu's keys and Kombu's behaviour, so plain Celery workers, clients and Flower share the Redis. What differs:
a message moves from its queue to a worker in one step (`lua/fetch.lua`), the worker owns it by a lease that it renews
(`lease.py`), and a message that is not due yet waits in Redis, not in a worker's memory.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

__all__ = ["install"]


def install() -> None:
    """Let this process's connections to a Redis, by sentinels too, and to a cluster take this transport.

    The names stay what they are: Flower and Celery know ``redis`` by its name.
    """
    import worker.broker.inspect_scheduled  # noqa: F401, PLC0415 - importing it registers the command; Celery's worker is slow to import

    TRANSPORT_ALIASES["redis"] = "worker.broker.transport:Transport"
    TRANSPORT_ALIASES["rediss"] = "worker.broker.transport:Transport"
    TRANSPORT_ALIASES["sentinel"] = "worker.broker.transport:SentinelTransport"
    TRANSPORT_ALIASES["rediscluster"] = "worker.broker.transport:ClusterTransport"
