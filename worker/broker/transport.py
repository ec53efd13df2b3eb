"""The transport: Kombu's Redis transport over the safe channel."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from kombu.transport import redis as kombu_redis

from worker.broker.activity import ConsumerActivity
from worker.broker.channel import Channel, ClusterChannel, SentinelChannel
from worker.broker.partition_poller import PartitionPoller
from worker.broker.poller import ChannelPoller

if TYPE_CHECKING:
    from kombu.asynchronous.hub import Hub

    from worker.broker.partitioned import PartitionedChannel

__all__ = ["ClusterTransport", "SentinelTransport", "Transport"]

_TURN_EVERY: Final = 1.0


class Transport(kombu_redis.Transport):
    """The transport for ``redis://`` and ``rediss://``.

    Transport options beside Kombu's: those of `worker.broker.channel.SafeChannel`, and ``activity``.
    """

    Channel: type[PartitionedChannel] = Channel
    cycle: ChannelPoller

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = PartitionPoller() if self.client.transport_options.get("partitions") else ChannelPoller()
        self.activity: ConsumerActivity = self.client.transport_options.get("activity") or ConsumerActivity()
        self.has_loop = False
        """Whether an event loop consumes; if not, a program drains by hand."""
        self._loop: Hub | None = None
        self._wakeup: tuple[int, int] | None = None
        self._is_woken = False
        self._turns_at = 0.0

    def register_with_event_loop(self, connection: object, loop: Hub) -> None:
        """Let an event loop consume."""
        super().register_with_event_loop(connection, loop)
        self.has_loop, self._loop = True, loop
        for channel in self.channels:
            for lease in channel.holders:
                lease.grouped = True
        self.cycle.forget_wakeup()
        loop.add_reader(self._open_wakeup_pipe(), self._drain_wakeup_pipe)
        loop.call_repeatedly(_TURN_EVERY, self._turn)
        self.cycle._brpop_health_tref.cancel()  # noqa: SLF001 - Kombu has no public way to set how often it checks
        self.cycle._brpop_health_tref = loop.call_repeatedly(1, self.cycle.maybe_check_brpop_health)  # noqa: SLF001 - likewise

    def _open_wakeup_pipe(self) -> int:
        """Return the end of the pipe that can be read."""
        if self._wakeup is None:
            self._wakeup = os.pipe()
            for end in self._wakeup:
                os.set_blocking(end, False)
        return self._wakeup[0]

    def wake(self) -> None:
        """Wake the thread that waits for events, from any thread: there is room for more messages."""
        if self._wakeup is not None and not self._is_woken:
            self._is_woken = True
            with suppress(OSError):  # it is full, which wakes as well; or the connection is closed
                os.write(self._wakeup[1], b"!")

    def _drain_wakeup_pipe(self) -> None:
        if self._wakeup is not None:
            with suppress(OSError):
                os.read(self._wakeup[0], 4096)
        # Last: were it cleared before, a byte that is written in between would be read too, and none would follow it.
        # A call that writes none until now needs none: the loop looks only after this.
        self._is_woken = False

    def look_again(self, wait: float) -> None:
        """Let the event loop turn again in ``wait`` seconds."""
        if self._loop is not None:
            self._loop.call_later(wait, lambda: None)

    def _turn(self) -> None:
        """Show that what consumes over this connection is alive. Others drain it as well, and consume from no queue."""
        queues = {queue for channel in self.channels for queue in channel.consumed_queues}
        if queues or self.has_loop:
            self._turns_at = time.monotonic() + _TURN_EVERY
            self.activity.turned(queues)

    def drain_events(self, connection: object, timeout: float | None = None) -> None:  # noqa: ARG002 - the signature is Kombu's
        """Wait for one event; raises TimeoutError (which is `socket.timeout`) if none came in ``timeout`` seconds."""
        if self._wakeup is None:
            self.cycle.wake_by(self._open_wakeup_pipe(), self._drain_wakeup_pipe)
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
        self.cycle.forget_wakeup()
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            if self._loop is not None:
                self._loop.remove_reader(wakeup[0])
            for end in wakeup:
                os.close(end)
        self._loop = None


class SentinelTransport(Transport, kombu_redis.SentinelTransport):
    """The transport for ``sentinel://``."""

    default_port = 26379
    Channel = SentinelChannel


class ClusterTransport(SentinelTransport):
    """The transport for ``redis+cluster://`` and ``rediss+cluster://``, which Kombu knows as ``rediscluster://``."""

    default_port = 6379
    Channel = ClusterChannel
