"""How a channel gets messages out of Redis: it asks, and is told when something changes; nothing is popped to wait.

While there is nothing to fetch, Redis remembers which lists the channel looked at, and sends one line when one of them
changes (client tracking, since Redis 6). So any number of queues and priorities takes one connection, no message leaves
its list before there is room for it, and waiting costs nothing.
"""

from __future__ import annotations

import logging
import time
from functools import cached_property
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
import redis
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps

from worker.broker.fetched import Fetched
from worker.broker.in_flight import InFlightChannel
from worker.broker.payload import HELD_IN, MAX_BYTES, PROBE, QUEUED_IN, due_at, to_payload
from worker.broker.queue_keys import QueueKeys
from worker.broker.scripts import FETCH
from worker.broker.server_errors import translating_server_errors
from worker.clients.redis.retry import NO_RETRY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.link import Link

__all__ = ["LAST_ANSWER", "FetchingChannel"]

log = logging.getLogger(__name__)

_BATCH: Final = 100
"""Messages fetched at once where the prefetch count sets no limit."""

_ASK_AGAIN: Final = 1.0
"""Seconds after which a channel that waits for a message asks all the same. It shows that Redis is there (as Kombu's
BRPOP does, with its timeout of a second), and that this channel consumes."""

_ASK_WITHOUT_TRACKING: Final = 0.05
"""The same, where Redis (or a proxy before it) can't tell of changes: client tracking, since Redis 6."""

LAST_ANSWER: Final = 1.0
"""Seconds that a closing channel waits for the answer that is under way."""

_ON_TIME: Final = 20
"""A message that is due within so many ms is delivered at once."""

_CLOCK_STEP: Final = 0.001
"""Redis counts in ms: a look that comes a moment early would find nothing."""

_KNOWN: Final = 64
"""Orders of queues whose keys are remembered."""

_OWN_KEYS: Final = 4
_KEYS_OF_A_LIST: Final = 4
_COUNTS: Final = 2
"""Where the counts stand among a list's keys (`lua/fetch.lua`): a worker does not wait for them to change."""


class FetchingChannel(InFlightChannel):
    """Kombu's Redis channel, with another way to fetch."""

    overdue_after = 5.0
    """Seconds without an answer after which the connection is given up."""

    is_above_partitions = False
    """Whether others fetch for it, each from a partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._no_ack: set[str] = set()
        self.armed_until: float | None = None
        """Until when it waits for an invalidation, if it does (by `time.monotonic`)."""
        self._brpop_sent_at: float | None = None
        """When it last asked (by `time.monotonic`)."""
        self._awaits_answer = False
        self._watch = True
        self._tracking = True
        self._tracked: Any = None
        self._loaded: Any = None
        self._commands: list[str] = []
        self._credit_asked = 0
        self._lists: Sequence[tuple[str, bool]] = ()
        self._known_keys: dict[tuple[tuple[str, bool], ...], QueueKeys] = {}
        super().__init__(*args, **kwargs)

    def _on_connection_disconnect(self, connection: redis.Connection) -> None:
        """Retire the lease if a reply to a fetch is lost with the connection."""
        if self._in_poll is connection:
            if self._awaits_answer:
                self._retire_lease()
            self.disarm()
            self._awaits_answer = False
        super()._on_connection_disconnect(connection)

    @cached_property
    def client(self) -> redis.Redis:
        """The connection that waits for messages; it speaks RESP3, in which Redis can tell of changes."""
        return self._make_waiting_client()

    def _make_waiting_client(self) -> redis.Redis:
        pool = self._get_pool(asynchronous=True)
        pool.connection_kwargs["protocol"] = 3
        self._waiting_pool = pool
        return self.Client(connection_pool=pool, credential_provider=pool.connection_kwargs.get("credential_provider"))

    _waiting_pool: redis.ConnectionPool | None = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection was closed")
        params: dict[str, Any] = super()._connparams(asynchronous)
        return params | {"connection_class": translating_server_errors(params["connection_class"]), "retry": NO_RETRY}

    def _disconnect_pools(self) -> None:
        pool, self._waiting_pool = self._waiting_pool, None
        if pool is not None:
            pool.disconnect()
        super()._disconnect_pools()

    def _queue_keys(self, queues: list[str]) -> QueueKeys:
        wanted = tuple((queue, queue not in self._no_ack and self.ack_emulation) for queue in queues)
        if wanted not in self._known_keys:
            if len(self._known_keys) == _KNOWN:
                self._known_keys.clear()
            self._known_keys[wanted] = QueueKeys.of(self.keys, wanted)
        return self._known_keys[wanted]

    def _fetch_arguments(
        self, queues: list[str], credit: int
    ) -> tuple[list[str], list[Any], Sequence[tuple[str, bool]]]:
        lease = self.holder
        keys, arguments, lists = self._queue_keys(queues)
        if any(acknowledged for _, acknowledged in lists):
            lease.start()
        own = [self.keys.unacked, self.keys.index, self.keys.leases, lease.held_key]
        fetch = [lease.id, lease.lease_ms, credit]
        return [*own, *keys], [*fetch, *arguments, lease.next_fetch(), MAX_BYTES], lists

    def _credit(self) -> int:
        """How many messages may be fetched at once."""
        if self.takes_one:
            return 1
        credit = self.qos.can_consume_max_estimate()
        return _BATCH if credit is None else int(min(credit, _BATCH))

    @property
    def consumed_queues(self) -> list[str]:
        """The queues that are consumed from, by this channel or those beneath it."""
        return list(self.active_queues)

    def link_of(self, kind: str) -> Link | None:  # noqa: ARG002 - another channel has several
        """Return what keeps one of its connections open, by Kombu's name for it; None if its loss is Celery's."""
        return None

    def ask(self) -> None:
        """Ask for messages, and to be told of changes if there may be none; the answers are read when they come."""
        queues = self._queue_cycle.consume(len(self.active_queues))
        credit = self._credit()
        if not queues or credit < 1:
            return
        keys, arguments, self._lists = self._fetch_arguments(queues, credit)
        connection = cast("redis.Connection", self.client.connection)  # which the poller opens
        socket = connection._sock  # noqa: SLF001 - redis-py has no public way to its socket: a new one has no tracking yet
        commands = self._tracking_commands(keys, socket) if self._watch else []
        fetch = ("EVALSHA", FETCH.sha) if self._loaded is socket else ("EVAL", FETCH.source)
        commands.append((*fetch, len(keys), *keys, *arguments))
        self._credit_asked, self._commands = credit, [command[0] for command in commands]
        self._in_poll, self._brpop_sent_at, self._awaits_answer = connection, time.monotonic(), True
        connection.send_packed_command([b"".join(map(hiredis.pack_command, commands))])

    def _tracking_commands(self, keys: list[str], socket: object) -> list[tuple[Any, ...]]:
        """Let Redis remember which keys were read, and tell once when one changes; what changed before is fetched."""
        watched = dict.fromkeys(key for at, key in enumerate(keys[_OWN_KEYS:]) if at % _KEYS_OF_A_LIST != _COUNTS)
        watched.pop(self.keys.unacked, None)  # it stands for a hold that there is none of
        read = ("EXISTS", *watched)
        if self._tracking and self._tracked is not socket:
            return [("CLIENT", "TRACKING", "ON", "NOLOOP"), read]
        return [read]

    def _brpop_start(self, timeout: float | None = None) -> None:  # noqa: ARG002 - the signature is Kombu's
        self.ask()

    def _brpop_read(self, **options: Any) -> bool:  # noqa: ARG002 - the signature is Kombu's
        """Read what came: the replies to what was asked, or an invalidation."""
        connection = cast("redis.Connection", self.client.connection)  # which the poller opens
        try:
            if self._awaits_answer:
                fetched = self._read_answers(connection)
            else:  # it waits for an invalidation, or has no queue or no room left
                connection.read_response(push_request=True)
                self.disarm()
                fetched = []
            self._flush_brpop_reauth()
            if not fetched and not self._in_poll and self.qos.can_consume():
                self.ask()  # at once: something changed
        except self.connection_errors:
            self._retire_lease()
            self.disarm()
            self._awaits_answer = False
            connection.disconnect()
            raise
        except redis.ResponseError:
            self._retire_lease()  # the script may have handed messages over before it failed, which go back so
            raise
        if not self._deliver_all(fetched):
            raise Empty
        return True

    def _read_answers(self, connection: redis.Connection) -> list[Fetched]:
        """Read all replies to `ask`, and wait for an invalidation if there was no message."""
        socket, replies = connection._sock, self._read_replies(connection)  # noqa: SLF001 - redis-py has no public way to its socket; see `ask`
        if "CLIENT" in replies:
            self._tracked = socket
            if isinstance(replies["CLIENT"], Exception):
                self._tracking = False
                log.warning("Redis can't tell of changes, so it is asked again and again: %s", replies["CLIENT"])
        fetched = replies.popitem()[1]
        if isinstance(fetched, redis.exceptions.NoScriptError):
            self._loaded = None
            return []
        if isinstance(fetched, Exception):
            raise fetched
        self._loaded = socket
        self._heard()
        now, look_again, taken = fetched
        if not taken and self._watch:
            self._arm(connection, max(look_again - now, 0) / 1000 + _CLOCK_STEP if look_again else _ASK_AGAIN)
        # A full batch means that there may be more: fetch again at once; otherwise wait for an invalidation.
        self._watch = len(taken) < self._credit_asked
        return self._read_entries(now, taken, self._lists)

    def _heard(self) -> None:
        """Note that the server has answered."""
        self.connection.activity.answered()

    def _read_replies(self, connection: redis.Connection) -> dict[str, Any]:
        """Read the reply, or the error, to each command that was sent; the fetch is the last."""
        replies: dict[str, Any] = {}
        try:
            for command in self._commands:
                try:
                    replies[command] = connection.read_response()
                except redis.ResponseError as error:
                    replies[command] = error
        finally:
            self._in_poll, self._awaits_answer = None, False
        return replies

    def _arm(self, connection: redis.Connection, at_most: float) -> None:
        """Wait for an invalidation, or for so many seconds at most."""
        if connection.can_read(timeout=0):
            return  # one came with the reply: it has been read from the socket, which will not be readable for it
        wait = min(at_most, _ASK_AGAIN if self._tracking else _ASK_WITHOUT_TRACKING)
        self._in_poll, self.armed_until = connection, time.monotonic() + wait
        self.connection.look_again(wait)

    def disarm(self) -> None:
        """Wait no longer: ask again in the next turn."""
        self._in_poll, self.armed_until = None, None
        self._watch = True

    def is_overdue(self) -> bool:
        """Whether an answer has not come for so long that the connection must be dead."""
        if not self._awaits_answer or self._brpop_sent_at is None:
            return False
        return bool(kombu_redis.monotonic() - self._brpop_sent_at > self.overdue_after)

    def _update_queue_cycle(self) -> None:
        super()._update_queue_cycle()
        if self.armed_until is not None:  # it waits for changes in queues that are no longer the right ones
            self.disarm()

    def _read_entries(self, now: int, taken: list[Any], lists: Sequence[tuple[str, bool]]) -> list[Fetched]:
        """Note what is in flight now, and read it."""
        fetched: list[Fetched] = []
        for number, raw_tag, entry, probe in taken:
            queue, acknowledged = lists[number - 1]
            tag = raw_tag.decode() if isinstance(raw_tag, bytes) else raw_tag
            payload = to_payload(entry.encode() if isinstance(entry, str) else entry, tag=tag, queue=queue)
            headers, properties = payload["headers"], payload["properties"]
            properties[QUEUED_IN] = queue
            # No sender may set these: the one passes a hold by, the other ends messages.
            headers.pop(PROBE, None)
            properties.pop(HELD_IN, None)
            if probe:
                headers[PROBE] = True
            if acknowledged and queue in self.counts:
                properties[HELD_IN] = self.holder.held_key
            fetched.append(Fetched(queue, tag if acknowledged else "", payload, due_at(payload["headers"])))
        if tags := [message.tag for message in fetched if message.tag]:
            self.holder.hold(tags)
        return [message for message in fetched if not self._waits(message, now)]

    def _waits(self, message: Fetched, now: int) -> bool:
        """Let a message that is not due yet wait in Redis; a plain client laid it in its queue."""
        if message.due is None:
            return False
        if message.queue in self.counts and message.due > now + self.farthest * 1000:
            return False  # the consumer dead-letters it: it would wait for ever
        if message.tag and message.due > now + _ON_TIME:
            self.holder.defer(message.tag, due=message.due)
            return True
        if message.due > time.time() * 1000:
            # It is due by Redis' clock. Celery would look at this machine's, and wait on.
            message.payload["headers"]["eta"] = None
        return False

    def _deliver_all(self, fetched: list[Fetched]) -> bool:
        """Deliver messages; what can't be delivered goes back."""
        for queue in dict.fromkeys(message.queue for message in fetched):
            self._queue_cycle.rotate(queue)  # it has had its turn: a queue that is never empty must not starve others
        delivered = 0
        try:
            for message in fetched:
                if message.queue not in self.connection._callbacks:  # noqa: SLF001 - Kombu's own channel uses it so
                    break
                delivered += 1
                self.connection._deliver(message.payload, message.queue)  # noqa: SLF001 - likewise
        finally:
            if left := fetched[delivered:]:
                self._put_back(left)
        return delivered > 0

    def _put_back(self, messages: list[Fetched]) -> None:
        self.holder.requeue_at_head([message.tag for message in messages if message.tag])
        for message in messages:
            if not message.tag:
                priority = self._get_message_priority(message.payload, reverse=False)
                with self.conn_or_acquire() as client:
                    client.rpush(self._q_for_pri(message.queue, priority), dumps(message.payload))

    def finish_asking(self, *, within: float = LAST_ANSWER) -> None:
        """Read the reply that comes in so many seconds, so that nothing is handed over to a lease that was released."""
        asked, self._in_poll = self._in_poll, None
        if asked and self._awaits_answer:
            try:
                if asked.can_read(timeout=within):
                    self.holder.requeue_at_head([message.tag for message in self._read_answers(asked) if message.tag])
            except (*self.connection_errors, *self.connection.channel_errors):
                log.debug("the answer under way is lost; what it held comes back by the lease", exc_info=True)
        self._in_poll, self.armed_until, self._awaits_answer = None, None, False
