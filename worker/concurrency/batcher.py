"""Batching in a thread: calls that arrive while a batch is executed are executed together in the next one.

A call that holds nothing up while it waits may be kept for a moment, so that others join it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from worker.concurrency.scheduler import current_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Batcher"]

A = TypeVar("A")
R = TypeVar("R")


class _Call(Generic[A, R]):
    """One caller's argument and result."""

    __slots__ = ("_lock", "_scheduler", "_waiter", "argument", "result")

    result: R | BaseException

    def __init__(self, argument: A) -> None:
        self.argument = argument
        self._scheduler = current_scheduler()
        if self._scheduler is None:
            self._lock = threading.Lock()
            self._lock.acquire()
        else:
            self._waiter = self._scheduler.waiter()

    @property
    def is_patient(self) -> bool:
        """Whether it holds nothing up while it waits: its task has left the limit on deliveries."""
        return self._scheduler is not None

    def wait(self, timeout: float | None) -> bool:
        """Return whether the call was executed in time."""
        if self._scheduler is None:
            return self._lock.acquire(timeout=-1 if timeout is None else timeout)
        return self._scheduler.wait_outside_limit(self._waiter, timeout=timeout)

    def wake(self) -> None:
        """Resume the caller."""
        if self._scheduler is None:
            self._lock.release()
        else:
            self._scheduler.wake_threadsafe((self._waiter,))


class Batcher(Generic[A, R]):
    """Executes the calls of many threads and tasks in one thread, which starts with the first of them.

    Args:
        execute: Gets the arguments of a batch; returns a result or an error for each, in their order. What it raises,
            each caller of the batch gets.
        name: The thread's.
        limit: Calls in one batch.
        pending_limit: Calls that may wait for the next batch; None for any number.
        timeout: Seconds that a caller waits; None for as long as it takes.
        gather: Seconds that calls of a scheduler's tasks wait for others to join them, unless ``limit`` wait already. A
            call that blocks its thread waits for none.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[A]], Sequence[R | BaseException]],
        *,
        name: str,
        limit: int,
        pending_limit: int | None = None,
        timeout: float | None = None,
        gather: float = 0,
    ) -> None:
        self._execute = execute
        self._name = name
        self._limit = limit
        self._pending_limit = pending_limit
        self._timeout = timeout
        self._gather = gather
        self._waiting: deque[_Call[A, R]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, argument: A) -> R:
        """Have a call executed, and return its result. Under a scheduler its task yields, and leaves the limit.

        Raises:
            TimeoutError: Too many calls wait already, or it took too long; then it may be under way, or be dropped.
            BaseException: What `execute` has returned for the call, or raised.
        """
        call: _Call[A, R] = _Call(argument)
        self._add(call)
        if not call.wait(self._timeout):
            with self._changed:
                if call in self._waiting:
                    self._waiting.remove(call)
            raise TimeoutError(f"it took longer than {self._timeout:g} s")
        if isinstance(call.result, BaseException):
            raise call.result
        return call.result

    @property
    def pending(self) -> int:
        """How many calls wait for the next batch."""
        return len(self._waiting)

    def close(self) -> None:
        """End the thread, after it has executed what waits. A later call starts another."""
        with self._changed:
            thread, self._closed = self._thread, True
            self._changed.notify()
        if thread is not None:
            thread.join()

    def _add(self, call: _Call[A, R]) -> None:
        with self._changed:
            if self._pending_limit is not None and len(self._waiting) >= self._pending_limit:
                raise TimeoutError(f"{self._pending_limit:,} calls wait already")
            self._waiting.append(call)
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif len(self._waiting) in {1, self._limit} or not call.is_patient:
                self._changed.notify()

    def _run(self) -> None:
        while calls := self._next_batch():
            for call, result in zip(calls, self._results([call.argument for call in calls]), strict=True):
                call.result = result
                call.wake()

    def _results(self, arguments: list[A]) -> Sequence[R | BaseException]:
        try:
            return self._execute(arguments)
        except BaseException as error:  # noqa: BLE001 - each caller of the batch gets the error, whatever it is
            return [error] * len(arguments)

    def _next_batch(self) -> list[_Call[A, R]]:
        """Wait for calls and take them; an empty list says that it is closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    self._thread = None
                    return []
                self._changed.wait()
            gathered_at = time.monotonic() + self._gather
            while self._may_gather and (left := gathered_at - time.monotonic()) > 0:
                self._changed.wait(left)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]

    @property
    def _may_gather(self) -> bool:
        if self._closed or not self._gather or len(self._waiting) >= self._limit:
            return False
        return all(call.is_patient for call in self._waiting)
