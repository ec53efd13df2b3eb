"""The channel: Kombu's, with atomic hand-over, leases, and delayed messages in Redis."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from kombu.transport import virtual
from kombu.utils.json import dumps

from worker.broker.fetch import FetchingChannel
from worker.broker.keys import DELAYED
from worker.broker.payload import due_at, read_json
from worker.broker.qos import QoS
from worker.broker.redelivery import publish_instead, republished
from worker.broker.scripts import FETCH, PURGE
from worker.concurrency.at_once import do_at_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import redis

    from worker.broker.fetched import Fetched

__all__ = ["SafeChannel"]

_PURGED_AT_ONCE: Final = 1000
"""Messages that one script throws away: it shall not keep Redis from others for long."""


class BrokerMessage(virtual.Message):
    """Kombu's, which reads JSON faster."""

    def _decode(self) -> object:
        """Read the body. Where that is not plain JSON, or fails, it is Kombu's business, and its errors."""
        plain = (self.content_type, self.content_encoding) == ("application/json", "utf-8")
        if plain and (self.accept is None or "application/json" in self.accept):
            with suppress(Exception):
                return read_json(self.body.decode() if isinstance(self.body, bytes) else self.body)
        return super()._decode()


class SafeChannel(FetchingChannel):
    """What Kombu's channel does, this one's way."""

    QoS = QoS
    Message = BrokerMessage
    _client_of_pool: redis.Redis | None = None

    @property
    def asked_for(self) -> tuple[int, float]:
        """How many messages its server was asked for that may come at any moment, and for how many seconds by now."""
        if not self._awaits_answer or self._brpop_sent_at is None:
            return 0, 0.0
        return self._credit_asked, time.monotonic() - self._brpop_sent_at

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> None:
        """Consume from a queue."""
        (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
        super().basic_consume(queue, no_ack, *args, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> virtual.Message | None:  # noqa: ARG002 - the signature is Kombu's
        """Get one message, or None."""
        message = next(self._get_one(queue, no_ack=no_ack), None)
        if message is None:
            return None
        received = self.Message(message.payload, channel=self)
        if not no_ack:
            self.qos.append(received, received.delivery_tag)
        return received

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - the signature is Kombu's
        message = next(self._get_one(queue, no_ack=True), None)
        if message is None:
            raise Empty
        return message.payload

    def _get_one(self, queue: str, *, no_ack: bool) -> Iterator[Fetched]:
        """Yield messages one by one, each handed over as it is asked for."""
        known = queue in self._no_ack
        while True:
            (self._no_ack.add if no_ack else self._no_ack.discard)(queue)
            try:
                keys, arguments, lists = self._fetch_arguments([queue], 1)
            finally:
                (self._no_ack.add if known else self._no_ack.discard)(queue)
            now, _, taken = FETCH(self.scripting(), keys, arguments)
            with self.conn_or_acquire() as client:
                self._maybe_update_queues_expire(client, queue)
            if not taken:
                return
            yield from self._read_entries(now, taken, lists)

    def _create_client(self, asynchronous: bool = False) -> redis.Redis:
        """One client for each pool of connections. Kombu makes one for each command, which takes as long as several."""
        if asynchronous:
            return super()._create_client(asynchronous)
        if self._client_of_pool is None or self._client_of_pool.connection_pool is not self.pool:
            self._client_of_pool = super()._create_client()
        return self._client_of_pool

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Publish a message: at once or for later, and in place of the one in flight that it takes over from."""
        headers = message.get("headers")
        due, instead_of = due_at(headers), republished(headers)
        now = time.time() * 1000
        if due is not None and due <= now and not instead_of.tag:
            due = None
        if due is not None and queue in self.counts and due > now + self.farthest * 1000:
            due = None  # see `FetchingChannel._waits`
        if due is None and not instead_of.tag:
            super()._put(queue, message, **kwargs)
            return
        batch = kwargs.get("_publish_batch")
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        if batch is not None and not instead_of.tag:
            batch.add("zadd", key + DELAYED, {dumps(message): due})
            return
        name = self.keys.prefix + key
        publish_instead(self.scripting(), self.keys, name, dumps(message), due=due, instead_of=instead_of)

    def _size(self, queue: str) -> int:
        with self.scripting().pipeline(transaction=False) as pipe:
            for name in self.keys.lists(queue):
                pipe.llen(name)
                pipe.zcard(name + DELAYED)
            return sum(pipe.execute())

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:  # noqa: ARG002 - the signature is Kombu's
        return self._size(queue) > 0  # Kombu's own way passes the prefix by

    def _purge(self, queue: str) -> int:
        names = [part for name in self.keys.lists(queue) for part in (name, name + DELAYED)]
        purged = 0
        keys = [self.keys.counts_of(queue) or names[0], *names]
        while some := PURGE(self.scripting(), keys, [_PURGED_AT_ONCE]):
            purged += some
        return purged

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self._purge(queue)
        super()._delete(queue, *args, **kwargs)

    def queue_delete(self, *args: Any, **kwargs: Any) -> None:
        """Delete a queue. A channel that closes because Redis is unavailable closes all the same."""
        try:
            super().queue_delete(*args, **kwargs)
        except self.connection_errors:
            if not self._closing:
                raise

    def let_go(self, keep: Collection[str]) -> None:
        """Return what is in flight to the heads of its queues, but for ``keep``; nothing is fetched any more.

        Args:
            keep: The delivery tags of what is still being worked on.
        """
        self.finish_asking()
        do_at_once([partial(holder.release, keep) for holder in self.holders])

    def close(self) -> None:
        """Close the channel: what is in flight goes back to the heads of its queues, but for what is `kept`."""
        if not self.closed:
            self.finish_asking()
        super().close()
