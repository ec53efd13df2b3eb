"""What deliveries log is written together; no line is lost, doubled or out of its order."""

from __future__ import annotations

import io
import logging
import logging.handlers
import os
import subprocess
import sys
import uuid
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import eventually
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.observability.line_gathering import gather_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Stream(io.StringIO):
    """Counts how often it is written to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, text: str) -> int:
        """See `io.StringIO`."""
        self.writes += 1
        return super().write(text)


@pytest.fixture
def stream() -> Stream:
    """Where lines are written."""
    return Stream()


@pytest.fixture
def log(stream: Stream) -> logging.Logger:
    """A logger of its own that gathers."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    gather_lines(handler)
    return logging_to(handler)


def logging_to(handler: logging.Handler) -> logging.Logger:
    """Return a logger of its own that has this handler alone."""
    logger = logging.getLogger(uuid.uuid4().hex)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return logger


@pytest.fixture
def in_task() -> Iterator[Callable[..., None]]:
    """Makes calls in a scheduler's task, and returns once they are done."""
    scheduler = GeventScheduler(10)

    def run(*calls: Callable[[], object]) -> None:
        done = Event()

        def task() -> None:
            for call in calls:
                call()
            done.set()

        scheduler.submit(task, tag="1")
        assert done.wait(10)

    yield run
    scheduler.stop()


def test_lines_of_tasks_are_written_together_and_in_order(log: logging.Logger, stream: Stream, in_task: Any) -> None:
    """By the thread, without anything else being logged."""
    in_task(*(partial(log.info, "line %d", number) for number in range(100)))

    eventually(lambda: stream.getvalue().count("\n") == 100, what="all are written")
    assert stream.getvalue().splitlines() == [f"INFO line {number}" for number in range(100)]
    assert stream.writes < 20


@pytest.mark.parametrize("in_what", ["a task", "a thread"])
def test_an_error_and_what_is_no_tasks_are_written_at_once(
    log: logging.Logger, stream: Stream, in_task: Any, monkeypatch: pytest.MonkeyPatch, in_what: str
) -> None:
    """After the lines before it."""
    monkeypatch.setattr("worker.observability.line_gathering._MOMENT", 60)
    in_task(partial(log.warning, "before"))
    assert stream.getvalue() == ""

    if in_what == "a task":
        in_task(partial(log.error, "now"))
        assert stream.getvalue() == "WARNING before\nERROR now\n"
    else:
        log.info("now")
        assert stream.getvalue() == "WARNING before\nINFO now\n"


def test_a_flush_writes_what_is_gathered(
    log: logging.Logger, stream: Stream, in_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python's own exit does, and the worker's."""
    monkeypatch.setattr("worker.observability.line_gathering._MOMENT", 60)
    in_task(partial(log.info, "the last"))

    log.handlers[0].flush()

    assert stream.getvalue() == "INFO the last\n"


def test_a_line_that_cannot_be_formatted_costs_no_other(
    log: logging.Logger, stream: Stream, in_task: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is reported as `logging` reports it."""

    class Fussy(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            if record.msg == "bad":
                raise ValueError("this line is bad")
            return f"{record.levelname} {record.msg}"

    log.handlers[0].setFormatter(Fussy())

    in_task(partial(log.info, "one"), partial(log.info, "bad"), partial(log.info, "two"))

    eventually(lambda: "two" in stream.getvalue(), what="the last is written")
    assert stream.getvalue() == "INFO one\nINFO two\n"
    assert "this line is bad" in capsys.readouterr().err


def test_lines_go_on_after_a_stream_that_failed(
    log: logging.Logger, stream: Stream, in_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a while does not end the log."""
    failures = 0

    def fail() -> None:
        nonlocal failures
        failures += 1
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(logging, "raiseExceptions", False)
        patch.setattr(stream, "flush", fail)
        in_task(partial(log.info, "lost"))
        eventually(lambda: failures == 2, what="neither the line nor the stream could be flushed")
    in_task(partial(log.info, "shown"))

    eventually(lambda: "shown" in stream.getvalue(), what="the line is written")


def test_filters_and_levels_hold_and_no_line_is_written_twice(
    log: logging.Logger, stream: Stream, in_task: Any
) -> None:
    """Though Celery sets its logging up more than once."""
    handler = log.handlers[0]
    gather_lines(handler)
    handler.addFilter(lambda record: "secret" not in record.getMessage())
    handler.setLevel(logging.WARNING)

    in_task(partial(log.info, "too low"), partial(log.warning, "a secret"), partial(log.warning, "shown"))
    handler.flush()

    assert stream.getvalue() == "WARNING shown\n"


def test_a_file_that_is_rotated_is_opened_again(tmp_path: Path, in_task: Any) -> None:
    """Celery's `--logfile` is watched for it."""
    path = tmp_path / "worker.log"
    handler = logging.handlers.WatchedFileHandler(path)
    gather_lines(handler)
    logger = logging_to(handler)
    try:
        in_task(partial(logger.info, "one"))
        handler.flush()
        path.rename(tmp_path / "old.log")
        in_task(partial(logger.info, "two"))
        handler.flush()
    finally:
        handler.close()
    assert (tmp_path / "old.log").read_text() == "one\n"
    assert path.read_text() == "two\n"


def test_another_kind_of_handler_is_left_alone(in_task: Any) -> None:
    """It may want the records themselves."""

    class Records(logging.StreamHandler[io.StringIO]):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    seen: list[str] = []
    handler = Records(io.StringIO())
    gather_lines(handler)
    logger = logging_to(handler)

    in_task(partial(logger.info, "one"))

    assert seen == ["one"]


_EXITS = """
import logging, sys, threading
from worker.concurrency.gevent_scheduler import GeventScheduler
from worker.observability import line_gathering
line_gathering._MOMENT = 60
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
line_gathering.gather_lines(logging.getLogger().handlers[0])
done = threading.Event()
GeventScheduler(1).submit(lambda: (logging.info("the last line"), done.set()), tag="1")
done.wait(10)
"""


def test_a_process_that_ends_writes_what_is_gathered() -> None:
    """Though its threads are still there."""
    ended = subprocess.run(
        [sys.executable, "-c", _EXITS], capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)
    )
    assert ended.stdout == "the last line\n"
