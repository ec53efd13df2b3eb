"""The worker's pool: deliveries take turns in one thread, every other task has a thread; what has begun is known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from producer.message import TASK
from tests.processes import eventually
from worker.pool import TaskPool
from worker.turns import here

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
    run(pool, TASK, "1", lambda: (here() is not None, threading.current_thread().name), ended)
    eventually(lambda: len(ended) == 1, what="the delivery has ended")
    run(pool, "feedback.advance_replay", "2", lambda: here() is None, ended)

    eventually(lambda: len(ended) == 2, what="the other has ended")
    assert ended == [(True, "deliveries"), True]


@pytest.mark.parametrize("task", [TASK, "feedback.advance_replay"])
def test_what_has_begun_is_told_and_the_rest_is_dropped(pool: TaskPool, task: str) -> None:
    """Whatever kind of task it is."""
    opened, begun = threading.Event(), []

    def wait(tag: str) -> None:
        begun.append(tag)
        turns = here()
        if turns is None:
            assert opened.wait(10)
        else:
            turns.aside(lambda: opened.wait(10))

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
        turns = here()
        assert turns is not None
        turns.aside(lambda: opened.wait(10))

    run(pool, TASK, "1", wait)
    eventually(lambda: pool.info["deliveries"] == 1, what="one is under way")
    opened.set()
    eventually(lambda: pool.info["deliveries"] == 0, what="none is")
    assert pool.info["max-concurrency"] == AT_ONCE
