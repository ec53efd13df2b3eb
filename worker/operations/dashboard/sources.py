"""What the pages look at: the dead-letter database and Redis, off Flower's event loop and under a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

import redis

from worker.accounting.snapshot import Rates
from worker.database.engine import connect
from worker.database.errors import DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import check_schema
from worker.operations.broker import broker_outage, broker_partitions
from worker.operations.dashboard.findings import Doctor
from worker.operations.database import database_outage, database_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from worker.accounting.snapshot import Snapshot
    from worker.clients.redis.partitions import Partitions
    from worker.settings import Settings

__all__ = ["SourceUnavailable", "Sources", "Throughput"]

T = TypeVar("T")

_THREADS: Final = 4

_PATIENCE: Final = 10.0
"""Seconds that a page waits for what it shows."""

_STATEMENT_SECONDS: Final = 8
"""PostgreSQL ends a statement that takes longer, so that its thread is free for the next page. MySQL's driver has a
limit of its own."""

_APART: Final = timedelta(seconds=1)
"""Looks closer to each other than this say little: one of them is kept."""

_REMEMBERED: Final = timedelta(seconds=20)


class SourceUnavailable(Exception):
    """What a page needs can't be reached.

    Attributes:
        what: ``Redis`` or ``The database``.
        do: The fix, for the operator.
    """

    def __init__(self, what: str, problem: str, *, do: str) -> None:
        super().__init__(problem)
        self.what = what
        self.do = do


class Sources:
    """The database and Redis of one Flower; opened when first needed, and open until it ends.

    The threads are not Flower's own: if a database hangs, its own pages go on.

    Args:
        settings: Where they are.
        patience: Seconds that a page waits.
    """

    def __init__(self, settings: Settings, *, patience: float = _PATIENCE) -> None:
        self.pace = Throughput()
        self.doctor = Doctor(settings)
        self.settings = settings
        self._patience = patience
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="dashboard")
        self._engine: Engine | None = None
        self._partitions: Partitions | None = None
        self._one_at_a_time = threading.Lock()

    async def look(self, what: Callable[[], T], *, patience: float | None = None) -> T:
        """Call a function on a thread. Raises `SourceUnavailable` if Redis or the database does not answer in time."""
        loop = asyncio.get_running_loop()
        patience = self._patience if patience is None else patience
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, self._explained, what), patience)
        except TimeoutError:
            problem = f"no answer within {patience:g} seconds"
            raise SourceUnavailable("The database, or Redis,", problem, do="Check them, and try again.") from None

    def start(self, work: Callable[[], None]) -> None:
        """Run something on a thread, without waiting for it; Flower does not wait for it either when it ends."""
        threading.Thread(target=work, name="dashboard-work", daemon=True).start()

    def _explained(self, what: Callable[[], T]) -> T:
        with self.explained():
            return what()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what Redis and the database raise when they are unavailable into `SourceUnavailable`."""
        try:
            yield
        except DeadLetterError as error:
            problem = database_outage(self.settings, error)
            raise SourceUnavailable("The database", problem, do=_database_fix(error)) from error
        except redis.RedisError as error:
            fix = "Start it, or correct FEEDBACK_BROKER_URL."
            raise SourceUnavailable("Redis", broker_outage(self.settings, error), do=fix) from error

    def engine(self) -> Engine:
        """Return the database; call it on a thread. Raises `DeadLetterError` if it, or its table, can't be used."""
        with self._one_at_a_time:
            if self._engine is None:
                url, limit = database_url(self.settings), _STATEMENT_SECONDS
                engine = connect(url, pool_size=_THREADS, looking=True, statement_seconds=limit)
                try:
                    check_schema(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def partitions(self) -> Partitions:
        """Return the clients of the broker's partitions, which answer in bytes."""
        with self._one_at_a_time:
            if self._partitions is None:
                self._partitions = broker_partitions(self.settings, connections=_THREADS)
            return self._partitions

    def close(self) -> None:
        """Close what was opened."""
        self._threads.shutdown()
        if self._engine is not None:
            self._engine.dispose()
        if self._partitions is not None:
            self._partitions.close()


def _database_fix(error: DeadLetterError) -> str:
    if isinstance(error, DeadLetterStoreUnavailable):
        return "Start it, or correct FEEDBACK_DATABASE_URL. Deliveries go on meanwhile; only events that die wait."
    return "Do what it says where Flower runs, and load this page again."


class Throughput:
    """Remembers looks at the queue, for all who watch it; safe for many threads."""

    def __init__(self) -> None:
        self._looks: deque[Snapshot] = deque()
        self._one_at_a_time = threading.Lock()

    def after(self, look: Snapshot) -> Rates | None:
        """Note one more look, and return the rates until then; None if there was none a moment ago."""
        with self._one_at_a_time:
            while self._looks and not timedelta() <= look.at - self._looks[0].at <= _REMEMBERED:
                self._looks.popleft()
            first = self._looks[0] if self._looks else None
            if not self._looks or look.at - self._looks[-1].at >= _APART:
                self._looks.append(look)
        return None if first is None or look.at - first.at < _APART else Rates.between(first, look)
