"""The transport: Kombu's Redis transport over the safe channel."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from kombu.transport import redis as kombu_redis

from worker.broker.activity import ConsumerActivity
from worker.broker.channel import Channel, SafeChannel, SentinelChannel
from worker.broker.poller import ChannelPoller

if TYPE_CHECKING:
    from kombu.asynchronous.hub import Hub

__all__ = ["SentinelTransport", "Transport"]

_TURN_EVERY: Final = 1.0


class Transport(kombu_redis.Transport):
    """The transport for ``redis://`` and ``rediss://``.

    Transport options beside Kombu's: those of `worker.broker.channel.SafeChannel`, and ``activity``.
    """

    Channel: type[SafeChannel] = Channel
    cycle: ChannelPoller

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = ChannelPoller()
        self.activity: ConsumerActivity = self.client.transport_options.get("activity") or ConsumerActivity()
        self.has_loop = False
        """Whether an event loop consumes; if not, a program drains by hand."""
        self._loop: Hub | None = None
        self._bell: tuple[int, int] | None = None
        self._turns_at = 0.0

    def register_with_event_loop(self, connection: object, loop: Hub) -> None:
        """Let an event loop consume."""
        super().register_with_event_loop(connection, loop)
        self.has_loop, self._loop = True, loop
        for channel in self.channels:
            for holder in channel.holders:
                holder.grouped = True
        self.cycle.hear_no_more()
        loop.add_reader(self._hang_bell(), self._silence)
        loop.call_repeatedly(_TURN_EVERY, self._turn)
        self.cycle._brpop_health_tref.cancel()  # noqa: SLF001 - Kombu has no public way to set how often it checks
        self.cycle._brpop_health_tref = loop.call_repeatedly(1, self.cycle.maybe_check_brpop_health)  # noqa: SLF001 - likewise

    def _hang_bell(self) -> int:
        """Return the end of the bell that can be read."""
        if self._bell is None:
            self._bell = os.pipe()
            for end in self._bell:
                os.set_blocking(end, False)
        return self._bell[0]

    def wake(self) -> None:
        """Wake the thread that waits for events, from any thread: there is room for more messages."""
        if self._bell is not None:
            with suppress(OSError):  # it is full, and so it rings; or the connection is closed
                os.write(self._bell[1], b"!")

    def _silence(self) -> None:
        if self._bell is not None:
            with suppress(OSError):
                os.read(self._bell[0], 4096)

    def look_again(self, wait: float) -> None:
        """See to it that the event loop turns again in ``wait`` seconds."""
        if self._loop is not None:
            self._loop.call_later(wait, _nothing)

    def asked(self) -> None:
        """Note that Redis answered a channel that asked for messages."""
        self.activity.answered()

    def _turn(self) -> None:
        """Show that what consumes over this connection is alive. Others drain it as well, and consume from no queue."""
        queues = {queue for channel in self.channels for queue in channel.active_queues}
        if queues or self.has_loop:
            self._turns_at = time.monotonic() + _TURN_EVERY
            self.activity.turned(queues)

    def drain_events(self, connection: object, timeout: float | None = None) -> None:  # noqa: ARG002 - the signature is Kombu's
        """Wait for one event.

        Raises:
            TimeoutError: None came within ``timeout`` seconds (it is `socket.timeout`, too).
        """
        if self._bell is None:
            self.cycle.hear(self._hang_bell(), self._silence)
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while True:
            if time.monotonic() >= self._turns_at:
                self._turn()
            try:
                self.cycle.get(self._deliver, timeout=left)
            except Empty:
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError from None
            else:
                return

    def close_connection(self, connection: object) -> None:
        """Close every channel."""
        super().close_connection(connection)
        self.cycle.hear_no_more()
        bell, self._bell = self._bell, None
        if bell is not None:
            if self._loop is not None:
                self._loop.remove_reader(bell[0])
            for end in bell:
                os.close(end)
        self._loop = None


def _nothing() -> None:
    """A turn of the loop is all that is wanted."""


class SentinelTransport(Transport, kombu_redis.SentinelTransport):
    """The transport for ``sentinel://``."""

    default_port = 26379
    Channel = SentinelChannel
