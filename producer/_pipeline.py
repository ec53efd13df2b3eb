"""The connection of an `AsyncFeedbackProducer` in one event loop: every call goes over it, none waits for another.

Redis answers commands in their order, so thousands of tasks share one connection: each call's place in the queue of
those that wait is its claim to a reply. A call that is cancelled or runs out of time leaves its place behind, and the
reply that comes for it is dropped there: no other call can ever read it.

Where replicas or disks must confirm what is written, one ``WAIT`` goes behind each batch, for all calls of it. The next
batch is gathered, and not sent, until that is answered: Redis would not read it before, and its calls can still end as
not sent.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from producer._connection import SILENT, WOULD_BLOCK, Connection, dial
from producer.errors import BrokerUnavailable, EnqueueUncertain, ProducerError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from concurrent.futures import Future

    from producer._connection_target import ConnectionTarget
    from producer._routing import Outcome
    from producer.write_concern import WriteConcern

__all__ = ["Pipeline"]

_BATCH: Final = 262_144
"""Bytes that are handed to the socket in one go: about what it buffers."""


class _PipelinedCall:
    """One command, and the future of its reply."""

    __slots__ = ("asked_at", "command", "deadline", "outcome", "reply", "sent")

    def __init__(self, command: bytes, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self.command = command
        self.asked_at = loop.time()
        self.deadline = deadline
        self.outcome: asyncio.Future[bytes | ProducerError] = loop.create_future()
        self.sent = False
        self.reply: bytes | None = None  # that is not confirmed yet

    def end(self, outcome: bytes | ProducerError) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Pipeline:
    """A connection, from its dialling to its end.

    Args:
        endpoint: Where to connect, and what must confirm each command's write.
        loop: The event loop that it is in.
        deadline: Until when the call goes on that needs it first, on the loop's clock.

    Attributes:
        open: Whether new calls may use it: it is not once it has left a call without an answer.
        closed: Whether it is gone.
    """

    def __init__(self, endpoint: ConnectionTarget, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.open = True
        self.closed = False
        self._loop = loop
        self._concern = endpoint.concern
        self._on_silence = endpoint.on_silence
        self._connection: Connection | None = None
        self._queued: deque[_PipelinedCall] = deque()
        self._queued_bytes = 0
        self._flush_at = _BATCH
        self._sending = memoryview(b"")
        self._awaiting: deque[_PipelinedCall] = deque()
        self._unconfirmed: list[_PipelinedCall] = []
        self._confirmation: list[bytes] = []
        self._awaits_confirmation = False
        self._under_way = 0
        self._unfinished_line = b""
        self._answered_at = loop.time()
        self._flush_is_due = False
        self._waits_to_write = False
        dial(endpoint, time.monotonic() + deadline - loop.time()).add_done_callback(self._dialled)

    async def ask(self, command: bytes, deadline: float) -> bytes:
        """Send a whole command by the deadline, on the loop's clock, and return its reply of one line.

        Raises `BrokerUnavailable` if nothing of it has left, nor will, and `EnqueueUncertain` if it may have left; this
        also if what it wrote is not confirmed in time.
        """
        call = _PipelinedCall(command, deadline, self._loop)
        self._queue(call)
        timer = self._loop.call_at(deadline, self._expire, call)
        self._under_way += 1
        try:
            outcome = await call.outcome
        finally:
            timer.cancel()
            self._under_way -= 1
            self._close_if_left()
        if isinstance(outcome, ProducerError):
            raise outcome
        return outcome

    async def ask_all(self, commands: Sequence[bytes], deadline: float, send_by: float) -> list[Outcome]:
        """Send whole commands together, and return how each ended, in their order; arguments are those of `ask`.

        What could not be sent until ``send_by`` is not sent at all: another server may have its partition by then.
        """
        calls = [_PipelinedCall(command, deadline, self._loop) for command in commands]
        self._queue(*calls)
        timers = [self._loop.call_at(deadline, self._expire_all, calls)]
        if send_by < deadline:
            timers.append(self._loop.call_at(send_by, self._give_up_unsent, calls))
        self._under_way += 1
        try:
            return [await call.outcome for call in calls]
        finally:
            for timer in timers:
                timer.cancel()
            for call in calls:
                call.outcome.cancel()  # if this was cancelled
            self._under_way -= 1
            self._close_if_left()

    @property
    def is_connected(self) -> bool:
        """Whether what is asked is sent at once."""
        return self._connection is not None

    def usable(self) -> bool:
        """Tell whether a call may use it now."""
        if not self.open or self._connection is None or self._awaiting or self._awaits_confirmation:
            if self._on_silence is not None and self._is_silent():
                self._on_silence()
            return self.open
        if self._connection.usable():
            return True
        self._break("the connection was closed, or idle for too long")
        return False

    def _is_silent(self) -> bool:
        """Whether a call was sent some time ago, and nothing has come since."""
        if not self._awaiting:
            return False
        return self._loop.time() - max(self._awaiting[0].asked_at, self._answered_at) > SILENT

    def retire(self) -> None:
        """Take no more calls; close when the last one under way has ended."""
        self.open = False
        self._close_if_left()

    def close(self) -> None:
        """Close now; calls under way end with an error."""
        self._break("the producer was closed")

    def _queue(self, *calls: _PipelinedCall) -> None:
        for call in calls:
            self._queued.append(call)
            self._queued_bytes += len(call.command)
        if self._connection is None:
            return
        if self._queued_bytes >= self._flush_at or not (self._awaiting or self._flush_is_due):
            self._flush()
        else:  # others are under way
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Let what this call and its neighbours queue in this turn of the loop go together."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _dialled(self, dialled: Future[Connection]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._connected, dialled)
        except RuntimeError:  # the loop has closed
            if dialled.exception() is None:
                dialled.result().close()

    def _connected(self, dialled: Future[Connection]) -> None:
        error = dialled.exception()
        if error is not None:
            self._break(str(error))
        elif self.closed:
            dialled.result().close()
        else:
            self._connection = dialled.result()
            self._loop.add_reader(self._connection.socket, self._readable)
            self._flush()

    def _flush(self) -> None:
        self._flush_is_due = False
        self._flush_at = self._queued_bytes + _BATCH
        if self._connection is None:
            return
        try:
            while self._sending or self._next_batch():
                self._sending = self._sending[self._connection.send(self._sending) :]
        except WOULD_BLOCK:
            self._waits_to_write = True
            self._loop.add_writer(self._connection.socket, self._flush)
        except OSError as error:
            self._break(str(error))
        else:
            if self._waits_to_write:
                self._waits_to_write = False
                self._loop.remove_writer(self._connection.socket)

    def _next_batch(self) -> bool:
        commands: list[bytes] = []
        size = 0
        wait_until = 0.0
        if self._awaits_confirmation:
            return False
        while self._queued and size < _BATCH:
            call = self._queued.popleft()
            self._queued_bytes -= len(call.command)
            if not call.outcome.done():  # who was cancelled, or ran out of time, before is not sent at all
                call.sent = True
                size += len(call.command)
                commands.append(call.command)
                self._awaiting.append(call)
                wait_until = max(wait_until, call.deadline)
        if self._concern is not None and commands:
            commands.append(self._concern.wait(wait_until - self._loop.time()))
            self._awaits_confirmation = True
        self._sending = memoryview(b"".join(commands))
        return bool(commands)

    def _readable(self) -> None:
        if self._connection is None:
            return
        try:
            piece = self._connection.receive()
        except WOULD_BLOCK:
            return
        except OSError as error:
            self._break(str(error))
        else:
            self._take(self._connection, piece)

    def _take(self, connection: Connection, piece: bytes) -> None:
        if not piece:
            self._break("the connection was closed")
            return
        *lines, self._unfinished_line = (self._unfinished_line + piece).split(b"\r\n")
        if lines:
            self._answered_at = self._loop.time()
            connection.touch()
        for line in lines:
            if self._awaiting:
                self._answer(self._awaiting.popleft(), line)
            elif self._concern is not None and self._awaits_confirmation:
                self._confirm(self._concern, line)
            else:
                self._break("Redis answered what it was not asked")
                return

    def _answer(self, call: _PipelinedCall, line: bytes) -> None:
        if self._concern is None or line[:1] == b"-":
            call.end(line)
        else:
            call.reply = line
            self._unconfirmed.append(call)

    def _confirm(self, concern: WriteConcern, line: bytes) -> None:
        """Take a line of the confirmation; its last one ends the calls of the batch."""
        self._confirmation.append(line)
        if not concern.is_whole(self._confirmation):
            return
        shortfall = concern.shortfall(self._confirmation)
        confirmed, self._unconfirmed, self._confirmation = self._unconfirmed, [], []
        self._awaits_confirmation = False
        for call in confirmed:
            call.end(concern.unconfirmed(shortfall) if shortfall else call.reply or b"")
        if shortfall:  # another server may be the master by now, and a new connection finds out
            self._break(shortfall)
        else:  # with what the tasks that go on now enqueue next
            self._flush_soon()

    def _expire(self, call: _PipelinedCall) -> None:
        call.end(self._cut_off(call, "the time is up"))
        if self._connection is not None and (self._answered_at <= call.asked_at or call.reply is not None):
            self.open = False

    def _expire_all(self, calls: Sequence[_PipelinedCall]) -> None:
        for call in calls:
            if not call.outcome.done():
                self._expire(call)

    def _give_up_unsent(self, calls: Sequence[_PipelinedCall]) -> None:
        for call in calls:
            if not call.sent:
                call.end(self._cut_off(call, "it takes too long"))

    def _close_if_left(self) -> None:
        if not self.open and not self._under_way:
            self._break("the connection is no longer used")

    def _break(self, why: str) -> None:
        self.open = False
        self.closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(connection.socket)
                self._loop.remove_writer(connection.socket)
            connection.close()
        if self._loop.is_closed():  # its tasks ended with it, so no call waits
            return
        for call in (*self._awaiting, *self._unconfirmed, *self._queued):
            call.end(self._cut_off(call, why))
        self._awaiting.clear()
        self._unconfirmed.clear()
        self._queued.clear()

    def _cut_off(self, call: _PipelinedCall, why: str) -> ProducerError:
        if not call.sent:
            return BrokerUnavailable(f"not sent to Redis: {why}")
        if self._concern is not None:
            return self._concern.cut_off(call.reply, why)
        return EnqueueUncertain(f"no answer from Redis: {why}")
