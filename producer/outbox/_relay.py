"""`Relay`: carries committed rows to Redis, group by group, and deletes them once Redis has acknowledged them.

PostgreSQL, MySQL and MariaDB: the rows of a group are locked, sent and deleted in one transaction, and other relays
pass over what is locked. A relay that is killed leaves its rows as they were. So a row is sent at least once; the
worker delivers it once.
"""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from sqlalchemy import Engine, exc

from producer.errors import ProducerError
from producer.outbox._alone import alone
from producer.outbox._errors import reason_of
from producer.outbox._group import GROUP, ClaimedGroup
from producer.outbox._table import TABLE

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import Connection

    from producer._client import FeedbackProducer

__all__ = ["Relay"]

log = logging.getLogger(__name__)

_SEND_SECONDS: Final = 5.0
"""The budget of a group, in which its rows are locked."""

_IDLE_SECONDS: Final = 60
"""After so long without a word from a relay, whose machine may have vanished, the server frees the rows it locked."""

_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 5.0
"""Seconds between two tries while Redis or the database is unavailable."""

_DOUBLINGS: Final = 10
_LONGEST_INTERVAL: Final = 3600.0


class Relay:
    """Carries the rows of an outbox to Redis, in a thread of its own or in the caller's; several may run at once.

    As a context manager it runs a thread for the length of the block, one connection of the engine's is its own
    meanwhile. Start it after a fork, not before.

    Args:
        engine: Of the database with the outbox.
        producer: Sends the events, into its queue. It is not closed.
        interval: Seconds between two looks into an outbox that has no full group waiting.

    Attributes:
        relayed: How many events were carried.
        set_aside: How many rows were no events.
        problem: Why nothing is carried just now; None while all is well.

    Raises:
        TypeError: ``engine`` is no `Engine`.
        ValueError: ``interval`` can't be used.
    """

    def __init__(self, engine: Engine, producer: FeedbackProducer, *, interval: float = 0.25) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"engine is of type {type(engine).__name__}: expected an Engine, as create_engine makes it")
        if not 0 < interval <= _LONGEST_INTERVAL:
            raise ValueError(f"interval is {interval}: expected seconds, above 0 and up to {_LONGEST_INTERVAL:.0f}")
        # What MySQL locks beyond the rows themselves in REPEATABLE READ would keep backends from adding rows.
        rows_alone = {} if engine.dialect.name == "sqlite" else {"isolation_level": "READ COMMITTED"}
        self._engine = engine.execution_options(**rows_alone)
        self._producer = producer
        self._interval = interval
        self._connection: Connection | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.relayed = 0
        self.set_aside = 0
        self.problem: str | None = None

    def run(self) -> None:
        """Carry rows until `stop` is called. While Redis or the database is unavailable it waits, and the rows stay."""
        failures = 0
        log.info("the relay of %s starts", TABLE)
        try:
            while not self._stopping.is_set():
                try:
                    is_full = self._carry() == GROUP
                except Exception as error:  # noqa: BLE001 - whatever it is, the rows are still there, and this must go on
                    failures += 1
                    self._failed(error)
                    wait = _wait_after(failures)
                else:
                    failures = 0
                    self._succeeded()
                    wait = 0 if is_full else self._interval
                self._stopping.wait(wait)
        finally:
            self._disconnect()
            log.info("the relay ends: %s events relayed, %s rows set aside", self.relayed, self.set_aside)

    def run_once(self) -> int:
        """Carry what is there, and return how many events that were.

        Raises:
            ProducerError: Redis did not take a group; its rows stay.
            sqlalchemy.exc.SQLAlchemyError: The database failed; the rows stay.
        """
        before = self.relayed
        try:
            while self._carry() == GROUP and not self._stopping.is_set():
                pass
        finally:
            self._disconnect()
        return self.relayed - before

    def stop(self) -> None:
        """Let `run` and `run_once` return after the group that they are at; for any other thread to call."""
        self._stopping.set()

    def __enter__(self) -> Self:
        self._stopping.clear()
        self._thread = threading.Thread(target=self.run, name="feedback relay", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join()

    def _carry(self) -> int:
        """Carry one group; return how many rows it had."""
        connection = self._connected()
        if connection.dialect.name != "sqlite":
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'")
                group = ClaimedGroup.claim(connection)
                error = self._send(group)
                group.remove(connection)
            return self._count(group, error)
        with alone(connection) as is_alone:
            return self._carry_alone(connection) if is_alone else 0

    def _carry_alone(self, connection: Connection) -> int:
        """Carry one group while no other relay does: nothing is locked while Redis is waited for."""
        with connection.begin():
            group = ClaimedGroup.claim(connection)
        error = self._send(group)
        with connection.begin():
            group.remove(connection)
        return self._count(group, error)

    def _send(self, group: ClaimedGroup) -> ProducerError | None:
        """Send a group. If it was taken in part, the rest leaves it, and the error is returned."""
        messages = list(group.messages(self._producer.queue))
        try:
            self._producer.enqueue_messages(messages, events=group.events, timeout=_SEND_SECONDS)
        except ProducerError as error:
            if not error.taken:
                raise
            group.leave(frozenset(error.messages_not_taken))
            return error
        return None

    def _count(self, group: ClaimedGroup, error: ProducerError | None) -> int:
        """Count a group that is committed, name what was set aside, and raise what kept the rest of it."""
        self.relayed += len(group.events)
        self.set_aside += len(group.problems)
        for row, why in group.problems.items():
            log.error("row %s of %s is set aside: %s; correct it, and set its problem to NULL", row, TABLE, why)
        if error is not None:
            raise error
        return len(group)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = connection = self._engine.connect()
            if connection.dialect.name in {"mysql", "mariadb"}:
                connection.detach()  # what is set here goes with it, and not back into the backend's pool
                connection.exec_driver_sql(f"SET SESSION wait_timeout = {_IDLE_SECONDS + 2 * round(self._interval)}")
                connection.commit()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(exc.SQLAlchemyError):
                connection.close()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, ProducerError) and self._connection is not None:
            with suppress(exc.SQLAlchemyError):
                self._connection.invalidate()
            self._disconnect()
        problem = reason_of(error)
        if problem != self.problem:
            known = isinstance(error, (ProducerError, exc.DBAPIError, exc.TimeoutError, OSError))
            log.warning("nothing is relayed: %s; the rows stay, and are tried again", problem, exc_info=not known)
        self.problem = problem

    def _succeeded(self) -> None:
        if self.problem is not None:
            log.info("rows are relayed again")
        self.problem = None


def _wait_after(failures: int) -> float:
    """Seconds until the next try; a part of them is chance, so that several relays don't try at once."""
    longest: float = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures, _DOUBLINGS))
    return longest * random.uniform(0.5, 1)  # noqa: S311 - no secret
