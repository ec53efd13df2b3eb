"""Waiting for messages of several channels at once: Kombu's poller, but for how it waits."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, cast

import redis
from kombu.transport.redis import SUBCLIENT_MAX_MISSED_HEALTH_CHECKS, MultiChannelPoller, _socket_readable
from kombu.utils.eventio import ERR, READ

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from worker.broker.safe_channel import SafeChannel

__all__ = ["ChannelPoller"]

_WAITING: Final = "BRPOP"
_LISTENING: Final = "LISTEN"
"""Kombu's names for the connection that waits for messages, and for the one that listens to what everyone is told."""

_LONGEST_POLL: Final = 1.0
"""Seconds after which a waiting loop looks at its channels again."""


class ChannelPoller(MultiChannelPoller):
    """Polls the connections of channels that wait for an invalidation, and makes them ask again in time."""

    eventflags = READ | ERR
    _wakeup: int | None = None
    _drain: Callable[[], None]

    def wake_by(self, fileno: int, drain: Callable[[], None]) -> None:
        """Let `get` end a wait whenever something can be read from a file descriptor; ``drain`` reads it."""
        self._wakeup, self._drain = fileno, drain
        self.poller.register(fileno, READ)

    def forget_wakeup(self) -> None:
        """Poll that file descriptor no more."""
        if self._wakeup is not None:
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(self._wakeup)
            self._wakeup = None

    def on_poll_start(self) -> None:
        """Let channels ask and listen; of partitions first the one that has waited longest for its turn."""
        if not any(channel.is_above_partitions for channel in self._channels):
            super().on_poll_start()
            return
        for channel in sorted(self._channels, key=_asked_at):
            if channel.active_queues and channel.qos.can_consume():
                with self._losing(channel, _WAITING):
                    self._register_BRPOP(channel)
            if channel.active_fanout_queues:
                with self._losing(channel, _LISTENING):
                    self._register_LISTEN(channel)

    @contextmanager
    def _losing(self, channel: SafeChannel, kind: str) -> Iterator[None]:
        """Where there are several servers, let the loss of one be its link's business, and not the whole worker's."""
        link = channel.link_of(kind)
        if link is None:
            yield
            return
        try:
            yield
        except channel.connection_errors as error:
            link.lose(cast("Exception", error))
        except redis.ResponseError as error:  # a key of the wrong type is that partition's alone, too
            link.lose(error)

    def _register_LISTEN(self, channel: SafeChannel) -> None:  # noqa: N802 - the name is Kombu's
        """Let a channel listen to what everyone is told."""
        if self._is_ready(channel, _LISTENING):
            super()._register_LISTEN(channel)  # type: ignore[misc]  # Kombu's

    def _is_ready(self, channel: SafeChannel, kind: str) -> bool:
        """Whether there is a connection, where the event loop must not wait for one."""
        link = channel.link_of(kind)
        if link is None:
            return True
        was_open = link.is_open
        if not link.ready():
            return False
        if not was_open:
            self._chan_to_sock.pop(  # type: ignore[attr-defined]  # Kombu's
                (channel, link.client, kind), None
            )
        return True

    def _register_BRPOP(self, channel: SafeChannel) -> None:  # noqa: N802 - the name is Kombu's
        """Let a channel ask, unless it has asked or waits for an invalidation."""
        if not self._is_ready(channel, _WAITING):
            return
        if channel.armed_until is not None and channel.armed_until <= time.monotonic():
            channel.disarm()
            channel._flush_brpop_reauth()  # noqa: SLF001 - Kombu has no public way; nothing is asked at this moment
        super()._register_BRPOP(channel)

    def on_readable(self, fileno: int) -> None:
        """Let a channel read what came. One without room for messages may still hear that there are some.

        Raises:
            queue.Empty: No message came.
        """
        channel, kind = self._fd_to_chan.get(fileno, (None, ""))
        if kind == "BRPOP" and not channel._in_poll and not channel.qos.can_consume():  # noqa: SLF001 - Kombu's poller and channel share it
            with suppress(*channel.connection_errors):  # it connects again once there is room
                channel.handlers[kind]()
            raise Empty
        if channel is None or channel.link_of(kind) is None:
            super().on_readable(fileno)
            return
        with self._losing(channel, kind):
            channel.handlers[kind]()
            return
        raise Empty

    def maybe_check_brpop_health(self) -> None:
        """Give up connections that have not answered for long; not those whose reply waits to be read."""
        for channel in self._channels:
            connection = channel._in_poll  # noqa: SLF001 - Kombu's poller and channel share it
            if connection and channel.is_overdue() and not _is_readable(connection):
                link = channel.link_of(_WAITING)
                if link is None:
                    connection.disconnect()
                else:
                    link.lose(redis.TimeoutError(f"no answer for {channel.overdue_after:g} s"))

    def maybe_check_subclient_health(self) -> None:
        """Give up connections on which nothing is heard; where there are several servers, none is opened for that."""
        if not any(channel.is_above_partitions for channel in self._channels):
            super().maybe_check_subclient_health()
            return
        for channel in self._channels:
            link = channel.link_of(_LISTENING) if channel.active_fanout_queues else None
            if link is not None and link.is_open:
                with self._losing(channel, _LISTENING):
                    _check_listening(channel.subclient)

    def get(self, callback: Callable[..., Any], timeout: float | None = None) -> None:  # noqa: ARG002 - the signature is Kombu's
        """Wait for one message, and deliver it; raises `Empty` if none came within the timeout, or within a second."""
        self._in_protected_read = True
        try:
            self.maybe_refresh_binding_expiry()
            self.on_poll_start()
            events = self.poller.poll(self._patience(timeout))
            for fileno, event in events or ():
                if fileno == self._wakeup:
                    self._drain()
                elif self.handle_event(fileno, event):
                    return
            if not events:
                self.maybe_check_brpop_health()
                self.maybe_restore_messages()
            raise Empty
        finally:
            self._in_protected_read = False
            while self.after_read:
                self.after_read.pop()()

    def maybe_restore_messages(self) -> None:
        """Return what plain Celery workers left in flight."""
        above = [channel for channel in self._channels if channel.is_above_partitions]
        if not above:
            super().maybe_restore_messages()
        elif consuming := next((channel for channel in above if channel.consumed_queues), None):
            consuming.restore_everywhere()

    def _patience(self, timeout: float | None) -> float:
        now = time.monotonic()
        ends: list[float] = [channel.armed_until for channel in self._channels if channel.armed_until is not None]
        wait = min([_LONGEST_POLL, *(end - now for end in ends)])
        return max(wait if timeout is None else min(wait, timeout), 0)


def _asked_at(channel: SafeChannel) -> float:
    return channel._brpop_sent_at or 0.0  # noqa: SLF001 - Kombu's poller and channel share it


def _check_listening(client: Any) -> None:  # noqa: ANN401 - redis-py's publish and subscribe, as Kombu prefixes it
    """Ask a server for a sign of life, which comes as a message; raises if it owes several."""
    if client.health_check_response_counter >= SUBCLIENT_MAX_MISSED_HEALTH_CHECKS:
        client.health_check_response_counter = 0
        raise redis.TimeoutError(f"no answer to {SUBCLIENT_MAX_MISSED_HEALTH_CHECKS} questions")
    client.check_health()


def _is_readable(connection: redis.Connection) -> bool:
    """Whether something came over a connection; nothing of it is read."""
    opened = cast("socket.socket | None", connection._sock)  # noqa: SLF001 - redis-py has no public way to its socket; see Kombu's `_socket_readable`
    return opened is not None and bool(_socket_readable(opened))
