"""Commands that are written to one connection together, and their replies, without waiting for either."""

from __future__ import annotations

import ssl
import time
from itertools import accumulate
from typing import TYPE_CHECKING

from producer._connection import READABLE, WOULD_BLOCK, WRITABLE, said
from producer.errors import BrokerUnavailable, EnqueueUncertain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer._connection import Connection
    from producer._routing import Outcome

__all__ = ["CommandExchange"]


class CommandExchange:
    """Whole commands, behind them what must confirm their writes, and what comes back.

    Args:
        connection: No other call uses it until the end.
        commands: Each has a reply of one line.
        deadline: Until when the copies of what is written may be waited for, by `time.monotonic`.

    Attributes:
        connection: As it was given.
        waits_for: What its socket must be for `go_on`.
        asked_at: When it began, by `time.monotonic`.
        is_clean: Whether nothing speaks against using the connection again, once it has ended.
    """

    def __init__(self, connection: Connection, commands: Sequence[bytes], deadline: float) -> None:
        self.connection = connection
        self.waits_for = WRITABLE
        self.asked_at = time.monotonic()
        self.is_clean = False
        self._concern = connection.concern
        wait = b"" if self._concern is None else self._concern.wait(deadline - self.asked_at)
        self._ends = list(accumulate(map(len, commands)))
        self._unsent = memoryview(b"".join((*commands, wait)))
        self._size = len(self._unsent)
        self._received = b""

    def go_on(self) -> list[Outcome] | None:
        """Send and receive what can be now; return the outcomes of the commands, in their order, once all are known."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent) :]
            while (outcomes := self._whole()) is None:
                piece = self.connection.receive()
                if not piece:
                    raise ConnectionResetError("the connection was closed")
                self._received += piece
        except WOULD_BLOCK as error:
            wants_to_write = isinstance(error, ssl.SSLWantWriteError)
            if isinstance(error, BlockingIOError):
                wants_to_write = bool(self._unsent)
            self.waits_for = WRITABLE if wants_to_write else READABLE
            return None
        except OSError as error:
            return self.cut_off(said(error))
        return outcomes

    def cut_off(self, why: str) -> list[Outcome]:
        """Return the outcomes of the commands as far as they are known when it ends before its time."""
        *lines, _ = self._received.split(b"\r\n")
        sent = self._size - len(self._unsent)
        replies = [*lines[: len(self._ends)], *[None] * (len(self._ends) - len(lines))]
        return [self._cut_off(reply, end <= sent, why) for reply, end in zip(replies, self._ends, strict=True)]

    def _cut_off(self, reply: bytes | None, was_sent: bool, why: str) -> Outcome:
        if reply is not None and (reply[:1] == b"-" or self._concern is None):
            return reply
        if not was_sent:  # Redis runs whole commands only
            return BrokerUnavailable(f"Redis does not take what is sent to it: {why}")
        if self._concern is not None:
            return self._concern.cut_off(reply, why)
        return EnqueueUncertain(f"no answer from Redis: {why}")

    def _whole(self) -> list[Outcome] | None:
        *lines, unfinished = self._received.split(b"\r\n")
        replies, confirmation = lines[: len(self._ends)], lines[len(self._ends) :]
        if unfinished or len(replies) < len(self._ends):
            return None
        concern, shortfall = self._concern, None
        if concern is not None:
            if not concern.is_whole(confirmation):
                return None
            shortfall = concern.shortfall(confirmation)
        elif confirmation:
            return [EnqueueUncertain("what answered does not answer as Redis does") for _ in replies]
        self.connection.touch()
        if concern is None or not shortfall or all(reply[:1] == b"-" for reply in replies):
            self.is_clean = True
            return [*replies]
        return [reply if reply[:1] == b"-" else concern.unconfirmed(shortfall) for reply in replies]
