"""Waiting for messages of several channels at once: Kombu's poller, but for how it waits."""

from __future__ import annotations

import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final, cast

from kombu.transport.redis import MultiChannelPoller, _socket_readable
from kombu.utils.eventio import ERR, READ

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    import redis

    from worker.broker.fetch import FetchingChannel

__all__ = ["ChannelPoller", "is_readable"]

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

    def _register_BRPOP(self, channel: FetchingChannel) -> None:  # noqa: N802 - the name is Kombu's
        """Let a channel ask, unless it has asked or waits for an invalidation."""
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
        super().on_readable(fileno)

    def maybe_check_brpop_health(self) -> None:
        """Give up connections that have not answered for long; not those whose reply waits to be read."""
        for channel in self._channels:
            connection = channel._in_poll  # noqa: SLF001 - Kombu's poller and channel share it
            if connection and channel.is_overdue() and not is_readable(connection):
                connection.disconnect()

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

    def _patience(self, timeout: float | None) -> float:
        now = time.monotonic()
        ends: list[float] = [channel.armed_until for channel in self._channels if channel.armed_until is not None]
        wait = min([_LONGEST_POLL, *(end - now for end in ends)])
        return max(wait if timeout is None else min(wait, timeout), 0)


def is_readable(connection: redis.Connection) -> bool:
    """Return whether something came over a connection; nothing of it is read."""
    opened = cast("socket.socket | None", connection._sock)  # noqa: SLF001 - redis-py has no public way to its socket; see Kombu's `_socket_readable`
    return opened is not None and bool(_socket_readable(opened))
