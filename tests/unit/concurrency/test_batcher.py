"""Calls that wait are executed together; how long and how many may wait is bounded; no slot is held meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import eventually
from worker.concurrency.batcher import Batcher
from worker.concurrency.gevent_scheduler import GeventScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence


class Gate:
    """Executes batches once it is opened."""

    def __init__(self) -> None:
        self.opened, self.begun = Event(), Event()
        self.batches: list[list[int]] = []

    def execute(self, numbers: Sequence[int]) -> list[int | BaseException]:
        """Double numbers; a negative one is an error of its own."""
        self.batches.append(list(numbers))
        self.begun.set()
        assert self.opened.wait(10)
        return [ValueError(str(number)) if number < 0 else 2 * number for number in numbers]


def test_each_caller_gets_its_own_result_or_error() -> None:
    """Those that wait meanwhile go together."""
    gate = Gate()
    with closing(Batcher(gate.execute, name="test", limit=10)) as batcher, ThreadPoolExecutor(4) as threads:
        first = threads.submit(batcher.call, 1)
        assert gate.begun.wait(10)
        rest = [threads.submit(batcher.call, number) for number in (2, -3, 4)]
        eventually(lambda: batcher.pending == 3, what="the others wait")
        gate.opened.set()

        assert first.result(10) == 2
        assert isinstance(rest[1].exception(10), ValueError)
        assert (rest[0].result(10), rest[2].result(10)) == (4, 8)
        assert [sorted(batch) for batch in gate.batches] == [[1], [-3, 2, 4]]


def test_a_call_that_waits_too_long_fails_and_is_dropped() -> None:
    """What is under way may still be executed; what waits is not."""
    gate = Gate()
    with closing(Batcher(gate.execute, name="test", limit=1, timeout=0.05)) as batcher:
        with pytest.raises(TimeoutError, match=r"longer than 0\.05 s"):
            batcher.call(1)
        with pytest.raises(TimeoutError):
            batcher.call(2)

        assert batcher.pending == 0
        gate.opened.set()
    assert gate.batches == [[1]]


def test_no_more_than_so_many_wait() -> None:
    """The next fails at once: what is too slow shall not gather everything."""
    gate = Gate()
    batcher = Batcher(gate.execute, name="test", limit=1, pending_limit=1)
    with closing(batcher), ThreadPoolExecutor(2) as threads:
        first = threads.submit(batcher.call, 1)
        assert gate.begun.wait(10)
        second = threads.submit(batcher.call, 2)
        eventually(lambda: batcher.pending == 1, what="the second waits")

        with pytest.raises(TimeoutError, match="1 calls wait already"):
            batcher.call(3)
        gate.opened.set()
        assert (first.result(10), second.result(10)) == (2, 4)


def test_a_task_that_waits_leaves_its_place_to_others() -> None:
    """Of a scheduler with room for one, while any number of its tasks wait."""
    gate, done = Gate(), Event()
    outside: list[int] = []
    results: list[int] = []
    batcher = Batcher(gate.execute, name="test", limit=10)
    scheduler = GeventScheduler(1)
    scheduler.outside_changed = outside.append
    try:
        for number in (1, 2, 3):
            scheduler.submit(lambda number=number: results.append(batcher.call(number)), tag=str(number))  # type: ignore[misc]  # mypy takes the default for an argument
        scheduler.submit(done.set, tag="4")

        assert done.wait(10)
        assert max(outside) == 3
        assert results == []
        gate.opened.set()
        eventually(lambda: len(results) == 3, what="all have their results")
        assert outside[-1] == 0
    finally:
        gate.opened.set()
        scheduler.stop()
        batcher.close()
    assert sorted(results) == [2, 4, 6]


def test_a_task_that_waits_too_long_goes_on() -> None:
    """In a scheduler as in a thread."""
    gate, errors = Gate(), list[TimeoutError]()
    batcher = Batcher(gate.execute, name="test", limit=1, timeout=0.05)
    scheduler = GeventScheduler(1)

    def call() -> None:
        try:
            batcher.call(1)
        except TimeoutError as error:
            errors.append(error)

    try:
        scheduler.submit(call, tag="1")
        eventually(lambda: len(errors) == 1, what="it has timed out")
    finally:
        gate.opened.set()
        scheduler.stop()
        batcher.close()


def test_tasks_of_a_scheduler_wait_for_others_to_join_them() -> None:
    """Until as many wait as a batch takes, however long they would wait for more."""
    gate, results = Gate(), list[int]()
    gate.opened.set()
    batcher = Batcher(gate.execute, name="test", limit=3, gather=3600)
    scheduler = GeventScheduler(1)
    try:
        for number in (1, 2, 3):
            eventually(lambda number=number: batcher.pending == number - 1, what="the one before waits")  # type: ignore[misc]  # mypy takes the default for an argument
            scheduler.submit(lambda number=number: results.append(batcher.call(number)), tag=str(number))  # type: ignore[misc]  # as above
        eventually(lambda: len(results) == 3, what="all have their results")
        scheduler.submit(lambda: results.append(batcher.call(4)), tag="4")
        eventually(lambda: batcher.pending == 1, what="it waits for others")
        batcher.close()  # which does not wait
        eventually(lambda: len(results) == 4, what="it has its result")
    finally:
        scheduler.stop()
        batcher.close()
    assert [sorted(batch) for batch in gate.batches] == [[1, 2, 3], [4]]


def test_a_call_that_blocks_its_thread_waits_for_no_others() -> None:
    """Nor do the tasks that wait with it."""
    gate, results = Gate(), list[int]()
    gate.opened.set()
    batcher = Batcher(gate.execute, name="test", limit=10, gather=3600)
    scheduler = GeventScheduler(1)
    try:
        assert batcher.call(1) == 2
        scheduler.submit(lambda: results.append(batcher.call(2)), tag="2")
        eventually(lambda: batcher.pending == 1, what="it waits for others")
        assert batcher.call(3) == 6
        eventually(lambda: results == [4], what="it has its result")
    finally:
        scheduler.stop()
        batcher.close()
    assert [sorted(batch) for batch in gate.batches] == [[1], [2, 3]]
