"""The deadline of everything that a worker does from the signal that stops it to its end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import eventually
from worker.concurrency.shutdown_deadline import ShutdownDeadline

if TYPE_CHECKING:
    from collections.abc import Callable


class Exits:
    """Notes how the process was to end."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.done: list[str] = []

    def deadline(self, last_message: Callable[[], str] = lambda: "it hung") -> ShutdownDeadline:
        """A deadline that ends no process."""
        return ShutdownDeadline(
            last_message, before_exit=lambda: self.done.append("tidied up"), exit_process=self.statuses.append
        )


def test_a_worker_that_was_not_told_to_stop_has_no_deadline() -> None:
    """Nothing counts before."""
    assert Exits().deadline().left == float("inf")


def test_the_process_ends_when_the_time_is_up(caplog: pytest.LogCaptureFixture) -> None:
    """With a line in the log, with status 0: nothing is lost by it."""
    exits = Exits()

    exits.deadline().begin(0.01)

    eventually(lambda: exits.statuses, what="the end")
    assert exits.statuses == [os.EX_OK]
    assert exits.done == ["tidied up"]
    assert caplog.record_tuples == [("worker.concurrency.shutdown_deadline", logging.WARNING, "it hung")]


def test_asked_again_the_time_only_gets_shorter() -> None:
    """A second signal ends the wait; a later step of stopping does not begin it again."""
    exits = Exits()
    deadline = exits.deadline()

    deadline.begin(1000)
    deadline.begin(2000)
    assert deadline.left <= 1000
    deadline.begin(0.01)

    eventually(lambda: exits.statuses, what="the end")


def test_a_program_that_a_worker_was_a_part_of_lives_on() -> None:
    """Once the worker has stopped in order, nothing counts any more."""
    exits = Exits()
    deadline = exits.deadline()

    deadline.begin(1000)
    deadline.call_off()
    deadline._watch()  # what its thread does: it returns

    assert exits.statuses == []


def test_a_log_that_hangs_does_not_keep_the_process() -> None:
    """A thread that hangs may hold the log's lock; or the pipe that it goes to is full."""
    exits, never = Exits(), threading.Event()

    def hang() -> str:
        never.wait()
        return ""

    exits.deadline(hang).begin(0.01)

    eventually(lambda: exits.statuses, what="the end")
    never.set()


@pytest.mark.parametrize(
    "patch", ["gevent.monkey.patch_all()", "eventlet.monkey_patch()", "threading.current_thread()"]
)
def test_it_ends_a_process_whose_only_thread_is_stuck(patch: str) -> None:
    """Where gevent or eventlet have replaced Python's threads, theirs would wait behind the one that is stuck."""
    module = patch.partition("(")[0].rpartition(".")[0]
    stuck = (
        f"import warnings; warnings.simplefilter('ignore'); import {module}; {patch}; import re\n"
        "from worker.concurrency.shutdown_deadline import ShutdownDeadline\n"
        "ShutdownDeadline(lambda: 'it hung').begin(0.1)\n"
        "while True: pass\n"
    )
    since = time.monotonic()

    ended = subprocess.run([sys.executable, "-c", stuck], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0
    assert "it hung" in ended.stderr
    assert time.monotonic() - since >= 0.1
