"""Lines of the log are written together, in their order, and none is lost but by a kill."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import TYPE_CHECKING

import pytest

from worker.gateway.loop_handler import LoopHandler

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stream(io.StringIO):
    """What was written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Note a write."""
        self.writes.append(text)
        return len(text)


class _Picky(logging.Formatter):
    """Fails at one record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return its text."""
        if record.getMessage() == "bad":
            raise ValueError("can't be formatted")
        return super().format(record)


@pytest.fixture
def stream() -> Stream:
    """Where the log goes."""
    return Stream()


@pytest.fixture
def log(stream: Stream) -> Iterator[logging.Logger]:
    """A logger with that handler alone."""
    handler = LoopHandler()
    handler.setStream(stream)
    handler.setFormatter(_Picky())
    logger = logging.getLogger("tests.loop_handler")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


async def test_the_lines_of_a_moment_are_one_write(log: logging.Logger, stream: Stream) -> None:
    """A moment later."""
    log.info("one")
    log.info("two")
    before = list(stream.writes)
    await asyncio.sleep(0.2)
    log.info("three")
    await asyncio.sleep(0.2)

    assert before == []
    assert stream.writes == ["one\ntwo\n", "three\n"]


async def test_an_error_is_written_at_once_behind_what_was_before(
    log: logging.Logger, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the last that the process says. A line that can't be formatted costs no other one."""
    log.info("one")
    log.info("bad")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("two")

    assert stream.writes == ["one\ntwo\n"]


async def test_a_line_of_another_thread_is_written_at_once(log: logging.Logger, stream: Stream) -> None:
    """It has no loop that could write it later."""
    await asyncio.to_thread(log.info, "one")

    assert stream.writes == ["one\n"]


def test_without_a_loop_lines_are_written_at_once(log: logging.Logger, stream: Stream) -> None:
    """As while the gateway starts and ends."""
    log.info("one")

    assert stream.writes == ["one\n"]
