"""What a channel has in flight: Kombu's bookkeeping of it, with a `Lease` behind it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import QoS as VirtualQoS

from worker.concurrency.at_once import do_at_once

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import TextIO

    import redis
    from kombu.transport import virtual

    from worker.broker.in_flight import InFlightChannel


__all__ = ["QoS"]

log = logging.getLogger(__name__)


class QoS(kombu_redis.QoS):
    """Kombu's, but for where acknowledgements go, and for who brings back what the dead leave."""

    channel: InFlightChannel

    def can_consume(self) -> bool:
        """Return whether there is prefetch credit left."""
        return self.can_consume_max_estimate() != 0

    def can_consume_max_estimate(self) -> int | None:
        """Return how much prefetch credit is left; None if there is no limit."""
        credit: int | None = super().can_consume_max_estimate()
        if credit is None or not (shared := self.channel.shared_leases):
            return credit
        in_flight = len(self._delivered) - len(self._dirty) - shared.outside_credit
        credit = max(self.prefetch_count - in_flight, 0)
        shared.starved = credit == 0
        return credit

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        """Note a message that was delivered. One that came by another way than ours is laid in Redis by Kombu."""
        if delivery_tag in self.channel.holder_of(delivery_tag):
            VirtualQoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)
            self.channel.adopt(delivery_tag)

    def ack(self, delivery_tag: str, label: str = "") -> None:
        """Acknowledge a message; from any thread.

        Args:
            delivery_tag: Its delivery tag.
            label: What to count, if its queue is counted and it was not settled before. If nothing is said it has not
                ended, and goes back to the end of its queue.
        """
        self._quick_ack(delivery_tag)
        self.channel.holder_of(delivery_tag).ack(delivery_tag, label)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Acknowledge a message, or return it to the end of its queue."""
        self._quick_ack(delivery_tag)
        if requeue:
            self.channel.holder_of(delivery_tag).requeue(delivery_tag)
        else:
            self.channel.holder_of(delivery_tag).ack(delivery_tag)

    def defer(self, delivery_tag: str, *, wait: float) -> None:
        """Let a message come again in ``wait`` seconds."""
        self._quick_ack(delivery_tag)
        self.channel.holder_of(delivery_tag).defer(delivery_tag, wait=wait)

    def restore_unacked(self, client: redis.Redis | None = None) -> None:  # noqa: ARG002 - the signature is Kombu's
        """Return everything that is in flight to the heads of the queues."""
        self._flush()
        for holder in self.channel.holders:
            holder.requeue_at_head([tag for tag in self._delivered if tag in holder])
        self._delivered.clear()

    def restore_unacked_once(self, stderr: TextIO | None = None) -> None:
        """Return everything that is in flight as the channel closes, but for what is still being worked on."""
        self._on_collect.cancel()
        self._flush()
        if self._delivered.restored:
            return
        self._delivered.restored = True
        if holders := self.channel.holders:
            keep: Collection[str] = self.channel.kept
            if not (self.restore_at_shutdown and self.channel.do_restore):
                keep = tuple(self._delivered)
            if left := len(self._delivered.keys() - set(keep)):
                text = f"Restoring {left} unacknowledged message(s)"
                if stderr is None:
                    log.info(text)
                else:
                    print(text, file=stderr)
            do_at_once([partial(holder.release, keep) for holder in holders])

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Return what a plain Celery worker left in flight: its visibility timeout has passed by Redis' clock.

        What our own workers leave comes back by their leases.
        """
        self._vrestore_count += 1
        if not (self._vrestore_count - 1) % (interval or 1):
            self.restore_visible_in(self.channel, start, num)

    def restore_visible_in(self, channel: InFlightChannel, start: int = 0, num: int | None = 10) -> None:
        """Do that in the partition of a channel."""
        with channel.conn_or_acquire() as client:
            seconds, microseconds = client.time()
            overdue: Any = client.zrange(
                self.unacked_index_key,
                "-inf",
                seconds + microseconds / 1_000_000 - self.visibility_timeout,
                byscore=True,
                offset=start if num else None,
                num=num,
            )
            for tag in overdue:
                self.restore_by_tag(tag.decode() if isinstance(tag, bytes) else tag, client)
