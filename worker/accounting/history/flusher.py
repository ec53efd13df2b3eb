"""Writes what a process counts of its deliveries into Redis every few seconds, on a thread of its own.

The time is Redis' clock, by which the fleet agrees on the minute whatever clocks its machines have; it costs one look a
minute. What was counted is given to the minute in which the thread began to wait for it, and the wait ends with the
minute: so a delivery asks for no time. While Redis is unavailable nothing is fetched, so hardly anything is counted;
what there is waits here, an hour's minutes at most. No delivery waits for any of it.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

import redis

from worker.accounting.history.fields import MINUTES
from worker.accounting.history.store import write_counts
from worker.accounting.history.tally import Tally
from worker.clients.redis.clock import RedisClock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HistoryFlusher"]

log = logging.getLogger(__name__)

_EVERY: Final = 5.0
"""Seconds. A worker that is killed takes what it has counted since then with it."""

_MOST_MINUTES: Final = 60
"""That wait to be written; beyond them the oldest is given up."""

_ENDS_WITHIN: Final = 1.0
"""Seconds for which a process that ends waits for the last writing: Redis may hang."""


class HistoryFlusher:
    """Writes the history of one process.

    Args:
        client: A client of the home partition, which is closed here.
        now: The time in seconds since 1970; by Redis' clock if None.

    Attributes:
        tally: What the process counts.
    """

    def __init__(self, client: redis.Redis, *, now: Callable[[], float] | None = None) -> None:
        self.tally = Tally()
        self._client = client
        self._now = now or _redis_clock(client)
        self._writer = secrets.token_hex(8)
        self._number = 1
        self._pending: dict[int, Counter[str]] = {}
        self._sent: dict[int, Counter[str]] = {}
        """What was sent under the number, and may or may not have arrived."""
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write the rest, and end; for as long as Redis answers soon."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_ENDS_WITHIN)

    def _run(self) -> None:
        ended = False
        while not ended:
            began = self._now()
            ended = self._stop.wait(min(_EVERY, MINUTES.seconds - began % MINUTES.seconds))
            try:
                self.flush(began)
            except Exception as error:  # noqa: BLE001 - an error in this thread must not end the worker; it tries again
                self._say(logging.WARNING, f"the history is not written: {type(error).__name__}: {error}")
        self._client.close()

    def flush(self, began: float) -> None:
        """Write what was counted since the last call, and what could not be written before.

        Args:
            began: When the first of it was counted, in seconds since 1970.
        """
        if counts := self.tally.take():
            self._pending.setdefault(MINUTES.start_of(began), Counter()).update(counts)
        while len(self._pending) > _MOST_MINUTES:
            del self._pending[min(self._pending)]
        try:
            while self._sent or self._pending:
                self._write()
        except redis.RedisError as error:
            self._say(logging.INFO, f"the history waits to be written: {error}")
        else:
            self._said = ""

    def _write(self) -> None:
        if not self._sent:
            self._sent, self._pending = self._pending, {}
        write_counts(self._client, self._sent, writer=self._writer, number=self._number, now=self._now())
        self._sent = {}
        self._number += 1

    def _say(self, level: int, text: str) -> None:
        """Once, as long as it stays the same."""
        if text != self._said:
            log.log(level, "%s", text)
        self._said = text


def _redis_clock(client: redis.Redis) -> Callable[[], float]:
    clock = RedisClock(client)
    return lambda: clock.now().timestamp()
