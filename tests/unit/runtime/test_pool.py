"""The worker's pool: deliveries take turns in one thread, every other task has a thread; what has begun is known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from producer.message import TASK
from tests.support.processes import eventually
from worker.concurrency.scheduler import current_scheduler
from worker.runtime.pool import TaskPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_ONCE = 2


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    """A pool of two at once."""
    made = TaskPool(AT_ONCE)
    made.start()
    yield made
    made.stop()


def run(pool: TaskPool, task: str, tag: str, call: Callable[[], Any], ended: list[Any] | None = None) -> Any:
    """Run a task as Celery has a pool run it."""
    request = {"properties": {"delivery_tag": tag}}
    return pool.apply_async(
        lambda *_: call(),
        args=(task, "id", request, b"", None, None),
        accept_callback=lambda *_: None,
        callback=(lambda *_: None) if ended is None else ended.append,
    )


def test_deliveries_take_turns_and_other_tasks_do_not(pool: TaskPool) -> None:
    """Celery is told what each returns."""
    ended: list[Any] = []
    run(pool, TASK, "1", lambda: (current_scheduler() is not None, threading.current_thread().name), ended)
    eventually(lambda: len(ended) == 1, what="the delivery has ended")
    run(pool, "feedback.advance_replay", "2", lambda: current_scheduler() is None, ended)

    eventually(lambda: len(ended) == 2, what="the other has ended")
    assert ended == [(True, "deliveries"), True]


@pytest.mark.parametrize("task", [TASK, "feedback.advance_replay"])
def test_what_has_begun_is_told_and_the_rest_is_dropped(pool: TaskPool, task: str) -> None:
    """Whatever kind of task it is."""
    opened, begun = threading.Event(), []

    def wait(tag: str) -> None:
        begun.append(tag)
        scheduler = current_scheduler()
        if scheduler is None:
            assert opened.wait(10)
        else:
            scheduler.run_in_thread(lambda: opened.wait(10))

    for tag in ("1", "2", "3"):
        run(pool, task, tag, lambda tag=tag: wait(tag))  # type: ignore[misc]
    eventually(lambda: len(begun) == AT_ONCE, what="two have begun")

    assert pool.drop_unstarted() == {"1", "2"}
    opened.set()

    eventually(lambda: pool.drop_unstarted() == frozenset(), what="they have ended")
    assert begun == ["1", "2"]


def test_it_says_how_many_deliveries_are_under_way(pool: TaskPool) -> None:
    """In ``celery inspect stats``, and on Flower's page of the worker."""
    opened = threading.Event()

    def wait() -> None:
        scheduler = current_scheduler()
        assert scheduler is not None
        scheduler.run_in_thread(lambda: opened.wait(10))

    run(pool, TASK, "1", wait)
    eventually(lambda: pool.info["deliveries"] == 1, what="one is under way")
    opened.set()
    eventually(lambda: pool.info["deliveries"] == 0, what="none is")
    assert pool.info["max-concurrency"] == AT_ONCE


def _fill(pool: TaskPool, tasks: int, opened: threading.Event) -> list[str]:
    """Run deliveries that end once it is opened, and return the list of those that have begun."""
    begun: list[str] = []

    def wait(tag: str) -> None:
        begun.append(tag)
        scheduler = current_scheduler()
        assert scheduler is not None
        scheduler.run_in_thread(lambda: opened.wait(10))

    for number in range(tasks):
        run(pool, TASK, str(number), lambda tag=str(number): wait(tag))  # type: ignore[misc]
    return begun


def test_a_pool_that_grows_begins_what_waits(pool: TaskPool) -> None:
    """At once, and not when the next task comes."""
    opened = threading.Event()
    begun = _fill(pool, 6, opened)
    eventually(lambda: len(begun) == AT_ONCE, what="two have begun")

    pool.grow(3)

    eventually(lambda: len(begun) == AT_ONCE + 3, what="five have begun")
    assert (pool.num_processes, pool.info["deliveries"]) == (5, 5)
    opened.set()
    eventually(lambda: len(begun) == 6, what="all have begun")


def test_a_pool_that_shrinks_lets_end_what_runs_and_then_begins_fewer(pool: TaskPool) -> None:
    """And at least one place stays, whatever is asked."""
    opened, ended = threading.Event(), threading.Event()
    begun = _fill(pool, AT_ONCE, opened)
    eventually(lambda: len(begun) == AT_ONCE, what="two have begun")

    pool.shrink(7)
    later = _fill(pool, 3, ended)
    opened.set()

    eventually(lambda: len(later) == 1, what="one has begun")
    eventually(lambda: pool.info["deliveries"] == 1, what="the first two have ended")
    assert (pool.num_processes, len(later)) == (1, 1)
    ended.set()
    eventually(lambda: len(later) == 3, what="all have begun")


def test_a_pool_without_a_place_waits_to_grow() -> None:
    """As `--autoscale=6,0` has it made; and only such a pool shrinks to nothing."""
    pool = TaskPool(0)
    pool.start()
    ended: list[Any] = []
    run(pool, TASK, "1", lambda: "done", ended)
    assert ended == []

    pool.grow()
    eventually(lambda: ended == ["done"], what="it has ended")
    pool.shrink()

    assert pool.num_processes == 0
    pool.stop()


@pytest.mark.parametrize("task", [TASK, "feedback.advance_replay"])
def test_whatever_surrounds_a_task_may_fail_and_celery_is_told(pool: TaskPool, task: str) -> None:
    """Else its message would be in flight for ever, and its place lost."""
    told: list[Any] = []

    def fail(*_: Any) -> None:
        raise RuntimeError("Celery's own code")

    request = {"properties": {"delivery_tag": "1"}}
    pool.apply_async(fail, args=(task, "id", request, b"", None, None), error_callback=told.append)

    eventually(lambda: len(told) == 1, what="Celery is told")
    assert isinstance(told[0].exception.exc, RuntimeError)


def test_a_restart_loses_no_task(pool: TaskPool) -> None:
    """What the threads before were given they still run."""
    ended: list[Any] = []
    for number in range(4):
        run(pool, "feedback.advance_replay", str(number), lambda: "done", ended)
        pool.restart()

    eventually(lambda: len(ended) == 4, what="all have ended")


def test_a_running_task_is_not_broken_off(pool: TaskPool) -> None:
    """AquilaX may have its feedback: `revoke --terminate` is told so."""
    with pytest.raises(NotImplementedError, match="not broken off"):
        pool.terminate_job(1, 15)
