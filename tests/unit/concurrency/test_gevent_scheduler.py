"""Tasks that take turns in one thread: each is run, none is held up by one that waits, and all of it can be ended."""

from __future__ import annotations

import contextvars
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from tests.support.processes import eventually
from worker.clients.redis.batching import ScriptBatcher
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.concurrency.scheduler import current_scheduler, run_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 4


@pytest.fixture
def scheduler() -> Iterator[GeventScheduler]:
    """A loop of four at once."""
    made = GeventScheduler(AT_ONCE)
    yield made
    made.stop()


class Gate:
    """What tasks wait for, each in its turn; it knows who waits."""

    def __init__(self) -> None:
        self.waiting: dict[int, Any] = {}
        self.ended: list[int] = []

    def wait(self, number: int) -> None:
        """Wait, as a task."""
        current = current_scheduler()
        assert current is not None
        self.waiting[number] = waiter = current.waiter()
        waiter.get()
        del self.waiting[number]
        self.ended.append(number)

    def open(self, scheduler: GeventScheduler, *numbers: int) -> None:
        """Let these go on."""
        scheduler.wake_threadsafe([self.waiting[number] for number in numbers])


def test_tasks_run_in_one_thread_which_is_none_of_the_callers(scheduler: GeventScheduler) -> None:
    """It is the same for all of them."""
    threads: list[threading.Thread] = []
    for _ in range(10):
        scheduler.submit(lambda: threads.append(threading.current_thread()), tag="")

    eventually(lambda: len(threads) == 10, what="all have run")
    assert len(set(threads)) == 1
    assert threading.current_thread() not in threads
    assert current_scheduler() is None


def test_one_that_waits_holds_up_nobody(scheduler: GeventScheduler) -> None:
    """As many as may have begun at once have; the next begins when one of them has ended, and in its order."""
    gate = Gate()
    for number in range(6):
        scheduler.submit(partial(gate.wait, number), tag=str(number))
    eventually(lambda: set(gate.waiting) == {0, 1, 2, 3}, what="four have begun")

    gate.open(scheduler, 2)

    eventually(lambda: set(gate.waiting) == {0, 1, 3, 4}, what="the next has begun")
    assert scheduler.running == AT_ONCE
    gate.open(scheduler, 0, 1, 3, 4)
    eventually(lambda: set(gate.waiting) == {5}, what="the last has begun")
    gate.open(scheduler, 5)
    eventually(lambda: scheduler.running == 0, what="all have ended")
    assert sorted(gate.ended) == list(range(6))


def test_what_has_not_begun_is_dropped(scheduler: GeventScheduler) -> None:
    """The tags of what has begun are told, and it goes on."""
    gate = Gate()
    for number in range(6):
        scheduler.submit(partial(gate.wait, number), tag=str(number))
    eventually(lambda: len(gate.waiting) == AT_ONCE, what="four have begun")

    assert scheduler.cancel_pending() == {"0", "1", "2", "3"}

    gate.open(scheduler, 0, 1, 2, 3)
    eventually(lambda: scheduler.cancel_pending() == frozenset(), what="they have ended")
    assert sorted(gate.ended) == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", [RuntimeError("no"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_task_that_fails_takes_nobody_along(
    scheduler: GeventScheduler, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the next runs."""
    ran = threading.Event()

    def fail() -> None:
        raise fault

    scheduler.submit(fail, tag="1")
    scheduler.submit(ran.set, tag="2")

    assert ran.wait(10)
    eventually(lambda: scheduler.running == 0, what="both have ended")
    assert "a fault of ours" in caplog.text


def test_what_blocks_is_done_aside(scheduler: GeventScheduler) -> None:
    """In another thread and in the task's own context, while the others have their turns; what it raises is raised."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    opened, other = threading.Event(), threading.Event()
    found: list[object] = []

    def block() -> tuple[str, bool]:
        assert opened.wait(10)
        return variable.get(), current_scheduler() is None

    def fail() -> None:
        raise ValueError("no")

    def first() -> None:
        variable.set("mine")
        found.append(run_in_thread(block))
        try:
            run_in_thread(fail)
        except ValueError as error:
            found.append(error)

    scheduler.submit(first, tag="1")
    scheduler.submit(other.set, tag="2")
    assert other.wait(10)
    assert not found
    opened.set()

    eventually(lambda: len(found) == 2, what="both came back")
    assert found[0] == ("mine", True)
    assert isinstance(found[1], ValueError)


def test_elsewhere_what_blocks_is_called_at_once() -> None:
    """There are no turns that anybody would miss."""
    assert run_in_thread(threading.current_thread) is threading.current_thread()


def test_scripts_of_tasks_go_together(scheduler: GeventScheduler) -> None:
    """Each gets its own answer, in its own thread."""
    batcher = ScriptBatcher(fakeredis.FakeRedis())
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = batcher.eval("return ARGV[1]", 0, str(number))

    for number in range(20):
        scheduler.submit(partial(ask, number), tag=str(number))

    eventually(lambda: scheduler.running == 0 and len(found) == 20, what="all were answered")
    assert found == {number: str(number).encode() for number in range(20)}
    batcher.close()


def test_it_ends_when_it_is_stopped(scheduler: GeventScheduler) -> None:
    """The caller is called back in its thread, once; what waits is left."""
    closed: list[threading.Thread] = []

    def close() -> None:
        closed.append(threading.current_thread())

    def task() -> None:
        current = current_scheduler()
        assert current is not None
        current.add_cleanup(close)
        current.add_cleanup(close)

    gate = Gate()
    scheduler.submit(partial(gate.wait, 1), tag="1")
    scheduler.submit(task, tag="2")
    eventually(lambda: scheduler.running == 1, what="one waits")
    began = time.monotonic()

    scheduler.stop()
    scheduler.stop()

    assert time.monotonic() - began < 5
    assert [thread.name for thread in closed] == ["deliveries"]
    assert not closed[0].is_alive()


def test_one_that_has_run_nothing_can_be_stopped() -> None:
    """Its thread has not begun."""
    GeventScheduler(1).stop()
