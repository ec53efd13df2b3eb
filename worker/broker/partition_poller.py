"""Waiting for messages of several partitions: no server is waited for, and none keeps the others from their turn."""

from __future__ import annotations

import time
from contextlib import contextmanager
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from kombu.transport.redis import SUBCLIENT_MAX_MISSED_HEALTH_CHECKS

from worker.broker.link import LISTENING, WAITING
from worker.broker.poller import ChannelPoller, is_readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redis.client import PubSub

    from worker.broker.fetch import FetchingChannel
    from worker.broker.link import Link
    from worker.broker.partitioned import PartitionedChannel
    from worker.broker.safe_channel import SafeChannel

__all__ = ["PartitionPoller"]

_ALL_AGAIN: Final = 1.0
"""Seconds after which the event loop is told again of every socket, and not of new ones only."""


class PartitionPoller(ChannelPoller):
    """Polls the connections of the channel that Celery knows and of those beneath it.

    The event loop turns thousands of times a second, and there may be hundreds of channels: each turn looks at those
    only that are neither asked nor waiting.
    """

    def __init__(self) -> None:
        super().__init__()
        self._untold: list[int] = []
        self._tell_all_at = 0.0

    @property
    def fds(self) -> dict[int, Any] | list[int]:
        """The sockets that the event loop does not poll yet: it tells the kernel of all that it is given, each turn."""
        now = time.monotonic()
        if now >= self._tell_all_at:
            self._tell_all_at, self._untold = now + _ALL_AGAIN, []
            return dict(self._fd_to_chan)
        untold, self._untold = self._untold, []
        return untold

    def _register(self, channel: SafeChannel, client: Any, type: str) -> None:  # noqa: A002, ANN401 - the signature is Kombu's
        super()._register(channel, client, type)  # type: ignore[misc]  # Kombu's
        self._untold.append(client.connection._sock.fileno())  # noqa: SLF001 - redis-py has no public way to its socket

    def on_poll_init(self, poller: Any) -> None:  # noqa: ANN401 - Kombu's, of a private class
        """Take the event loop's poller over; it knows no socket yet."""
        self._tell_all_at = 0.0
        super().on_poll_init(poller)  # type: ignore[misc]  # Kombu's

    def on_poll_start(self) -> None:
        """Let channels ask and listen; first the one that has waited longest for its turn."""
        now = time.monotonic()
        free = [channel for channel in self._channels if _is_free(channel, now)]
        for channel in sorted(_with_room(free), key=_asked_at):
            if channel.active_queues:
                with self._losing(channel, WAITING):
                    self._register_BRPOP(channel)
        for channel in self._channels:
            if channel.active_fanout_queues and not channel._in_listen:  # noqa: SLF001 - Kombu's poller and channel share it
                with self._losing(channel, LISTENING):
                    self._register_LISTEN(channel)

    def listen(self, channel: SafeChannel, *, within: float) -> None:
        """Ask for the broadcasts that a channel consumes; their server is waited for so many seconds at most."""
        link = channel.link_of(LISTENING)
        if link is not None and not link.is_open and link.wait(within):
            self._is_new(channel, link, LISTENING)
        with self._losing(channel, LISTENING):
            channel._in_listen = None  # type: ignore[attr-defined]  # noqa: SLF001 - Kombu's; it asks again, for one queue more
            self._register_LISTEN(channel)

    def on_readable(self, fileno: int) -> None:
        """Let a channel read what came.

        Raises:
            queue.Empty: No message came.
        """
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if channel is not None:
            with self._losing(channel, kind):
                channel.handlers[kind]()
                return
        raise Empty

    def maybe_restore_messages(self) -> None:
        """Return what plain Celery workers left in flight."""
        above = [channel for channel in self._channels if channel.is_above_partitions and channel.consumed_queues]
        if above:
            cast("PartitionedChannel", above[0]).restore_everywhere()

    def maybe_check_brpop_health(self) -> None:
        """Give up connections that have not answered for long; not those whose reply waits to be read."""
        for channel in self._channels:
            connection, link = channel._in_poll, channel.link_of(WAITING)  # noqa: SLF001 - Kombu's poller and channel share it
            if link is not None and connection and channel.is_overdue() and not is_readable(connection):
                link.lose(redis.TimeoutError(f"no answer for {channel.overdue_after:g} s"))

    def maybe_check_subclient_health(self) -> None:
        """Give up connections for remote control on which nothing answers; Kombu would connect in the event loop."""
        for channel in self._channels:
            link = channel.link_of(LISTENING) if channel.active_fanout_queues else None
            if link is not None and link.is_open:
                with self._losing(channel, LISTENING):
                    _check_listening(cast("PubSub", link.client))

    @contextmanager
    def _losing(self, channel: SafeChannel, kind: str) -> Iterator[None]:
        """Let the loss of one server be its link's business, and not the whole worker's."""
        try:
            yield
        except channel.connection_errors as error:
            link = channel.link_of(kind)
            if link is None:
                raise
            link.lose(cast("Exception", error))
        except redis.ResponseError as error:  # a key of the wrong type is that partition's alone, too
            link = channel.link_of(kind)
            if link is None:
                raise
            link.lose(error)

    def _register_BRPOP(self, channel: FetchingChannel) -> None:  # noqa: N802 - the name is Kombu's
        if self._is_ready(channel, WAITING):
            super()._register_BRPOP(channel)

    def _register_LISTEN(self, channel: SafeChannel) -> None:  # noqa: N802 - the name is Kombu's
        if self._is_ready(channel, LISTENING):
            super()._register_LISTEN(channel)  # type: ignore[misc]  # Kombu's

    def _is_ready(self, channel: FetchingChannel, kind: str) -> bool:
        """Whether there is a connection: the event loop waits for none."""
        link = channel.link_of(kind)
        was_open = link is None or link.is_open
        if link is None or (link.ready() and was_open):
            return True
        if not link.is_open:
            return False
        self._is_new(channel, link, kind)
        return True

    def _is_new(self, channel: FetchingChannel, link: Link, kind: str) -> None:
        """Forget the socket that a connection had before."""
        self._chan_to_sock.pop((channel, link.client, kind), None)  # type: ignore[attr-defined]  # Kombu's


def _check_listening(client: PubSub) -> None:
    """Ask a server for a sign of life, which comes as a message; raises `redis.TimeoutError` if it owes several."""
    if client.health_check_response_counter >= SUBCLIENT_MAX_MISSED_HEALTH_CHECKS:
        client.health_check_response_counter = 0
        raise redis.TimeoutError(f"no answer to {SUBCLIENT_MAX_MISSED_HEALTH_CHECKS} questions")
    client.check_health()


def _is_free(channel: SafeChannel, now: float) -> bool:
    """Whether a channel has not asked, or waits no longer for an invalidation."""
    if channel.armed_until is not None:
        return channel.armed_until <= now
    return not channel._in_poll  # noqa: SLF001 - Kombu's poller and channel share it


def _with_room(channels: Iterable[SafeChannel]) -> Iterator[SafeChannel]:
    """Yield those that have prefetch credit, which all partitions of a channel that Celery knows share."""
    room: dict[int, bool] = {}
    for channel in channels:
        qos = channel.qos
        if id(qos) not in room:
            room[id(qos)] = qos.can_consume()
        if room[id(qos)]:
            yield channel


def _asked_at(channel: SafeChannel) -> float:
    return channel._brpop_sent_at or 0.0  # noqa: SLF001 - Kombu's poller and channel share it
