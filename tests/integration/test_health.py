"""`aquilax-feedback health`: the age of the file that a worker touches, in words and an exit status."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from worker.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, which is not there yet."""
    file = tmp_path / "heartbeat"
    monkeypatch.setenv("FEEDBACK_HEARTBEAT_FILE", str(file))
    return file


def _touch(file: Path, *, seconds_ago: float) -> None:
    file.touch()
    moment = time.time() - seconds_ago
    os.utime(file, (moment, moment))


def _health(*options: str) -> Result:
    return CliRunner().invoke(main, ["health", *options])


@pytest.mark.parametrize("seconds_ago", [0, 50, -3600])
def test_a_file_that_was_touched_lately_is_healthy(heartbeat: Path, seconds_ago: float) -> None:
    """Also if the clock was set back since."""
    _touch(heartbeat, seconds_ago=seconds_ago)

    ended = _health()

    assert (ended.exit_code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("a worker consumed ")


def test_a_file_that_was_touched_long_ago_says_what_to_do(heartbeat: Path) -> None:
    """Docker keeps the sentence, and `docker inspect` shows it."""
    _touch(heartbeat, seconds_ago=90)

    ended = _health()

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"Error: no worker has consumed for 1 min 30 s (by {heartbeat}): see in its log whether it reaches Redis, "
        "and restart it if it does not say\n"
    )


def test_how_old_the_file_may_be_is_an_option(heartbeat: Path) -> None:
    """A worker on a slow machine is given more time, and a strict one less."""
    _touch(heartbeat, seconds_ago=30)

    assert [_health("--max-age", seconds).exit_code for seconds in ("10", "29", "120")] == [1, 1, 0]


def test_without_a_file_no_worker_has_ever_been_at_work(heartbeat: Path) -> None:
    """Or it was told of another file."""
    ended = _health()

    assert ended.exit_code == 1
    assert ended.stderr == (
        f"Error: no worker has consumed here: {heartbeat} can't be looked at (No such file or directory): "
        "start a worker, or set FEEDBACK_HEARTBEAT_FILE to what that worker has\n"
    )
