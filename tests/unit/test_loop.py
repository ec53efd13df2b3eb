"""Tasks that take turns in one thread: each is run, nobody is held up by one that waits, and all of it can be ended."""

from __future__ import annotations

import contextvars
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest

from tests.support.processes import eventually
from worker.loop import Loop
from worker.together import Together
from worker.turns import aside, here

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 4


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of four at once."""
    made = Loop(AT_ONCE)
    yield made
    made.stop()


class Gate:
    """What tasks wait for, each in its turn; it knows who waits."""

    def __init__(self) -> None:
        self.waiting: dict[int, Any] = {}
        self.ended: list[int] = []

    def wait(self, number: int) -> None:
        """Wait, as a task."""
        turns = here()
        assert turns is not None
        self.waiting[number] = waiter = turns.waiter()
        waiter.get()
        del self.waiting[number]
        self.ended.append(number)

    def open(self, loop: Loop, *numbers: int) -> None:
        """Let these go on."""
        loop.wake([self.waiting[number] for number in numbers])


def test_tasks_run_in_one_thread_which_is_none_of_the_callers(loop: Loop) -> None:
    """It is the same for all of them."""
    threads: list[threading.Thread] = []
    for _ in range(10):
        loop.submit(lambda: threads.append(threading.current_thread()), tag="")

    eventually(lambda: len(threads) == 10, what="all have run")
    assert len(set(threads)) == 1
    assert threading.current_thread() not in threads
    assert here() is None


def test_one_that_waits_holds_up_nobody(loop: Loop) -> None:
    """As many as may have begun at once have; the next begins when one of them has ended, and in its order."""
    gate = Gate()
    for number in range(6):
        loop.submit(partial(gate.wait, number), tag=str(number))
    eventually(lambda: set(gate.waiting) == {0, 1, 2, 3}, what="four have begun")

    gate.open(loop, 2)

    eventually(lambda: set(gate.waiting) == {0, 1, 3, 4}, what="the next has begun")
    assert loop.running == AT_ONCE
    gate.open(loop, 0, 1, 3, 4)
    eventually(lambda: set(gate.waiting) == {5}, what="the last has begun")
    gate.open(loop, 5)
    eventually(lambda: loop.running == 0, what="all have ended")
    assert sorted(gate.ended) == list(range(6))


def test_what_has_not_begun_is_dropped(loop: Loop) -> None:
    """The tags of what has begun are told, and it goes on."""
    gate = Gate()
    for number in range(6):
        loop.submit(partial(gate.wait, number), tag=str(number))
    eventually(lambda: len(gate.waiting) == AT_ONCE, what="four have begun")

    assert loop.drop_unstarted() == {"0", "1", "2", "3"}

    gate.open(loop, 0, 1, 2, 3)
    eventually(lambda: loop.drop_unstarted() == frozenset(), what="they have ended")
    assert sorted(gate.ended) == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", [RuntimeError("no"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_a_task_that_fails_takes_nobody_along(
    loop: Loop, fault: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the next runs."""
    ran = threading.Event()

    def fail() -> None:
        raise fault

    loop.submit(fail, tag="1")
    loop.submit(ran.set, tag="2")

    assert ran.wait(10)
    eventually(lambda: loop.running == 0, what="both have ended")
    assert "a fault of ours" in caplog.text


def test_what_blocks_is_done_aside(loop: Loop) -> None:
    """In another thread and in the task's own context, while the others have their turns; what it raises is raised."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    opened, other = threading.Event(), threading.Event()
    found: list[object] = []

    def block() -> tuple[str, bool]:
        assert opened.wait(10)
        return variable.get(), here() is None

    def fail() -> None:
        raise ValueError("no")

    def first() -> None:
        variable.set("mine")
        found.append(aside(block))
        try:
            aside(fail)
        except ValueError as error:
            found.append(error)

    loop.submit(first, tag="1")
    loop.submit(other.set, tag="2")
    assert other.wait(10)
    assert not found
    opened.set()

    eventually(lambda: len(found) == 2, what="both came back")
    assert found[0] == ("mine", True)
    assert isinstance(found[1], ValueError)


def test_elsewhere_what_blocks_is_called_at_once() -> None:
    """There are no turns that anybody would miss."""
    assert aside(threading.current_thread) is threading.current_thread()


def test_scripts_of_tasks_go_together(loop: Loop) -> None:
    """Each gets its own answer, in its own thread."""
    together = Together(fakeredis.FakeRedis())
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        for _ in range(20):
            found[number] = together.eval("return ARGV[1]", 0, str(number))

    for number in range(20):
        loop.submit(partial(ask, number), tag=str(number))

    eventually(lambda: loop.running == 0 and len(found) == 20, what="all were answered")
    assert found == {number: str(number).encode() for number in range(20)}
    together.close()


def test_it_ends_when_it_is_stopped(loop: Loop) -> None:
    """Whoever asked for it is called in its thread, once; what waits is left."""
    closed: list[threading.Thread] = []

    def close() -> None:
        closed.append(threading.current_thread())

    def task() -> None:
        turns = here()
        assert turns is not None
        turns.at_stop(close)
        turns.at_stop(close)

    gate = Gate()
    loop.submit(partial(gate.wait, 1), tag="1")
    loop.submit(task, tag="2")
    eventually(lambda: loop.running == 1, what="one waits")
    began = time.monotonic()

    loop.stop()
    loop.stop()

    assert time.monotonic() - began < 5
    assert [thread.name for thread in closed] == ["deliveries"]
    assert not closed[0].is_alive()


def test_one_that_has_run_nothing_can_be_stopped() -> None:
    """Its thread has not begun."""
    Loop(1).stop()
