"""A worker that may open few files delivers fewer events at once, and blames neither AquilaX nor an event."""

from __future__ import annotations

import errno
import logging
import resource
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import eventually
from worker.concurrency import file_descriptors as descriptors
from worker.concurrency.file_descriptors import Room, deliveries_at_once, is_own_shortage
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.concurrency.scheduler import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable


def limited(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, *, used: int) -> list[tuple[int, int]]:
    """Let the process seem to have these limits; return what it sets."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(descriptors, "_open_now", lambda: used)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    return asked


def test_with_enough_descriptors_nothing_is_said_or_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on every good day."""
    asked = limited(monkeypatch, 1024, 4096, used=30)

    assert deliveries_at_once(200) == 200
    assert (asked, caplog.text) == ([], "")


def test_the_limit_is_raised_as_far_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may do that by itself, up to the hard limit."""
    asked = limited(monkeypatch, 100, 4096, used=30)

    assert deliveries_at_once(200) == 200
    assert asked == [(254, 4096)]


def test_with_too_few_it_is_said_once_how_many_are_needed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With what to do."""
    limited(monkeypatch, 80, 80, used=30)

    assert deliveries_at_once(200) == 26
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "may open 80 files" in caplog.text
    assert "let it open 254 (ulimit -n, LimitNOFILE)" in caplog.text


def test_one_is_delivered_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few there are."""
    limited(monkeypatch, 20, 20, used=30)

    assert deliveries_at_once(200) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
def test_what_is_a_shortage_of_our_own(number: int) -> None:
    """And a refused connection is none."""
    assert is_own_shortage(OSError(number, "x"))
    assert not is_own_shortage(ConnectionRefusedError(errno.ECONNREFUSED, "x"))
    assert not is_own_shortage(ValueError("x"))


def in_threads(task: Callable[[], None], times: int) -> None:
    """Run a task in so many threads at once."""
    threads = [threading.Thread(target=task) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_one_thread(task: Callable[[], None], times: int) -> None:
    """Run a task so often at once under a scheduler."""
    scheduler = GeventScheduler(times)
    ended: list[None] = []

    def run() -> None:
        try:
            task()
        finally:
            ended.append(None)

    for _ in range(times):
        scheduler.submit(run, tag="")
    eventually(lambda: len(ended) == times, what="all have run")
    scheduler.stop()


@pytest.mark.parametrize("run", [in_threads, in_one_thread])
def test_only_so_many_are_in_the_room_and_each_gets_its_turn(run: Callable[[Callable[[], None], int], None]) -> None:
    """Also after one that failed."""
    room, inside, most, done = Room(3), [0], [0], [0]
    pause = partial(threading.Event().wait, 0.01)

    def task() -> None:
        with suppress(ZeroDivisionError), room.taken():
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            run_in_thread(pause)  # the others run meanwhile
            inside[0] -= 1
            done[0] += 1
            _ = 1 / (done[0] % 2)

    run(task, 20)

    assert (done[0], inside[0]) == (20, 0)
    assert 1 <= most[0] <= 3
