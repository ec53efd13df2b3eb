"""Idempotency over several partitions: an event's votes are in the partition of its request_id.

That is where its message lies, too, but for one that a foreign client laid elsewhere: then what belongs to the event
and what belongs to the message are two steps, as they are where a dead letter has to learn of it in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from producer.broker_url import BrokerUrl
from producer.partitions import partition_of_digest
from worker.clients.redis.batching import NodePipelines
from worker.clients.redis.connections import redis_partitions
from worker.clients.redis.keys import CountField, prefix_of, tag_of
from worker.delivery.idempotency import IdempotencyStore, digest_of

if TYPE_CHECKING:
    from datetime import timedelta

    import redis

    from producer import FeedbackEvent
    from worker.broker.lease_state import SharedLeaseState
    from worker.clients.redis.batching import ScriptBatcher
    from worker.delivery.idempotency import Claim, Claimed

__all__ = ["Idempotency", "PartitionedIdempotency", "connect_idempotency"]

_PATIENCE_WITH_ONE: Final = 1.0
"""Seconds to wait for one of several servers: what waits for it keeps a place from the events of the others."""


class PartitionedIdempotency:
    """Does what an `IdempotencyStore` does, each time in the partition concerned.

    Args:
        stores: Those of the partitions, by number. They are closed with this.
    """

    def __init__(self, stores: list[IdempotencyStore]) -> None:
        self._stores = stores
        self._by_prefix = {prefix_of(store.client): store for store in stores}

    def close(self) -> None:
        """Close the connections."""
        for store in self._stores:
            store.close()

    @property
    def client(self) -> redis.Redis:
        """The connection to the first partition, in which the hold is."""
        return self._stores[0].client

    @property
    def scripts(self) -> ScriptBatcher:
        """What runs scripts over that connection."""
        return self._stores[0].scripts

    def scripts_at(self, held_in: str) -> ScriptBatcher:
        """Return what runs scripts where a message lies, by the key of the set of what its holder holds."""
        return self._at(held_in).scripts

    def claim(self, event: FeedbackEvent, *, message_id: str, probe: bool = False) -> Claim:
        """Ask to send an event; see `IdempotencyStore.claim`."""
        return self._of(event).claim(event, message_id=message_id, probe=probe)

    def record(
        self, event: FeedbackEvent, claimed: Claimed, *, message_id: str, delivery_tag: str = "", held_in: str = ""
    ) -> None:
        """Record that AquilaX took the event, and end its message; see `IdempotencyStore.record`."""
        store, there = self._of(event), self._at(held_in)
        if store is there or not delivery_tag:
            store.record(event, claimed, message_id=message_id, delivery_tag=delivery_tag, held_in=held_in)
            return
        store.record(event, claimed, message_id=message_id)
        there.finish(delivery_tag, CountField.DELIVERED, held_in=held_in)

    def finish(self, delivery_tag: str, *counts: str, held_in: str = "") -> bool:
        """End a message, and count how; see `IdempotencyStore.finish`."""
        return self._at(held_in).finish(delivery_tag, *counts, held_in=held_in)

    def release(
        self, event: FeedbackEvent, claimed: Claimed, *, message_id: str, count: CountField | None = None
    ) -> None:
        """Give the claim back; see `IdempotencyStore.release`."""
        self._of(event).release(event, claimed, message_id=message_id, count=count)

    def has_delivered(self, event: FeedbackEvent, *, message_id: str) -> bool:
        """Return whether AquilaX took this very message last; see `IdempotencyStore.has_delivered`."""
        return self._of(event).has_delivered(event, message_id=message_id)

    def counts(self) -> dict[CountField, int]:
        """Return how many events there have been of each kind, in all partitions."""
        found = [store.counts() for store in self._stores]
        return {count: sum(counts[count] for counts in found) for count in CountField}

    def _of(self, event: FeedbackEvent) -> IdempotencyStore:
        return self._stores[partition_of_digest(digest_of(event.request_id), len(self._stores))]

    def _at(self, held_in: str) -> IdempotencyStore:
        """Where a message lies; the first partition if that is not known."""
        return self._by_prefix.get(tag_of(held_in), self._stores[0])


Idempotency = IdempotencyStore | PartitionedIdempotency
"""Of one partition, or of several."""


def connect_idempotency(
    url: str,
    *,
    sentinel_master: str | None = None,
    partitions: int | None = None,
    ttl: timedelta,
    lease: timedelta,
    connections: int,
    shared: SharedLeaseState | None = None,
) -> Idempotency:
    """Open the record of deliveries in the broker's Redis.

    Args:
        url: The broker's URL.
        sentinel_master: The master's name, if the URL names its sentinels.
        partitions: How many there are; if None 16 on a cluster, and 1 on one Redis.
        ttl: See `IdempotencyStore`.
        lease: See `IdempotencyStore`.
        connections: At the most, to each partition; as many as there are threads.
        shared: See `IdempotencyStore`.
    """
    several = len(BrokerUrl.read(url, sentinel_master).prefixes(partitions)) > 1
    where: dict[str, Any] = {"sentinel_master": sentinel_master, "partitions": partitions, "connections": connections}
    if several:
        where["patience"] = _PATIENCE_WITH_ONE
    clients = redis_partitions(url, **where)
    nodes = NodePipelines() if several else None
    stores = [IdempotencyStore(client, ttl=ttl, lease=lease, shared=shared, nodes=nodes) for client in clients]
    return stores[0] if len(stores) == 1 else PartitionedIdempotency(stores)
