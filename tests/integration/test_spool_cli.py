"""`aquilax-feedback spool`: what waits on disk, seen, sent and exported by an operator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from producer.spool import Spool, SpoolSender, segment
from tests.unit.producer.spool.test_line import record
from worker.operations.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.places import Places

EVENTS = [record(number).event for number in range(1, 4)]


def _run(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(main, ["spool", *arguments])
    return ended.exit_code, ended.output


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The spool of a container that is gone."""
    spool = Spool(tmp_path / "spool")
    spool.put(EVENTS, "feedback")
    spool.close()
    return spool.directory


def test_it_shows_what_waits_and_since_when(left: Path) -> None:
    """For people, and for machines."""
    status, said = _run("status", str(left))
    assert status == 0
    assert "waiting     3, the oldest since 20" in said
    assert "writing     0 processes" in said

    status, said = _run("status", str(left), "--json")
    document = json.loads(said)
    assert (status, document["events"], document["writers"], document["unreadable_bytes"]) == (0, 3, 0, 0)


def test_what_is_unreadable_is_told_by_the_exit_status(left: Path) -> None:
    """An operator has to look."""
    (left / "unreadable").write_bytes(b"damaged\n")

    status, said = _run("status", str(left))

    assert status == 1
    assert "unreadable  8 bytes in " in said


def test_it_sends_what_is_left(left: Path, places: Places) -> None:
    """To the Redis of the settings; then nothing is left."""
    status, said = _run("flush", str(left))

    assert (status, said) == (0, "sent 3\n")
    assert places.client.llen("feedback") == 3
    assert not segment.paths(left)


def test_what_a_running_process_writes_is_left_to_it(tmp_path: Path, places: Places) -> None:
    """It sends that itself."""
    Spool(tmp_path).put(EVENTS, "feedback")

    status, said = _run("flush", str(tmp_path))

    assert (status, said) == (0, "sent 0\nleft 3 to the 1 processes that are writing them\n")
    assert not places.client.llen("feedback")


def test_a_redis_that_does_not_take_them_is_told(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting that names it; they stay."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "redis://127.0.0.1:1/0")

    status, said = _run("flush", str(left))

    assert status == 1
    assert "sent 0; FEEDBACK_BROKER_URL: can't connect to" in said
    assert len(segment.paths(left)) == 1


def test_only_one_sends_at_a_time(left: Path, places: Places) -> None:
    """Two would send every event twice."""
    sender = SpoolSender(left, lambda _: pytest.fail("nothing is sent"))
    with sender._alone():
        status, said = _run("flush", str(left))

    assert status == 1
    assert "another process is sending it just now" in said
    assert not places.client.llen("feedback")


def test_it_exports_lines_that_send_takes(left: Path, places: Places, tmp_path: Path) -> None:
    """What waits stays where it is."""
    status, said = _run("export", str(left))
    assert status == 0
    file = tmp_path / "presses.ndjson"
    file.write_text(said)

    sent = CliRunner().invoke(main, ["send", "--from-file", str(file)])

    assert "enqueued 3, refused 0" in sent.output
    assert places.client.llen("feedback") == 3
    assert len(segment.paths(left)) == 1


def test_the_directory_is_that_of_the_settings(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If none is named; one that is missing is told."""
    assert "name the spool's DIRECTORY, or set FEEDBACK_SPOOL_DIR" in _run("status")[1]
    monkeypatch.setenv("FEEDBACK_SPOOL_DIR", str(left))

    assert "waiting     3" in _run("status")[1]
    status, said = _run("status", f"{left}/none")
    assert status == 2
    assert "is no directory" in said
