"""A worker's heartbeat: where it is, what it says, and who notices that two share one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from celery.utils.nodenames import default_nodename, host_format

from worker.runtime.heartbeat_file import (
    Beat,
    Heartbeat,
    heartbeat_file,
    heartbeat_files,
    heartbeat_folder,
    node_name,
    read_beat,
)

if TYPE_CHECKING:
    from pathlib import Path

REDIS = "redis://127.0.0.1:6379/0"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of this test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("given", ["worker@%h", "w1@%n", "a", "a@b", "x@%d", "w%%@%h", "worker@", "@host"])
def test_a_worker_is_named_as_celery_names_it(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`health -n` takes what `celery worker -n` took."""
    monkeypatch.setattr(socket, "gethostname", lambda: "node.example.com")
    monkeypatch.setattr("celery.utils.nodenames.gethostname", lambda: "node.example.com")

    assert node_name(given) == host_format(default_nodename(given))


def test_each_queue_and_each_name_has_a_file_of_its_own() -> None:
    """Two deployments of one user often have workers of one name."""
    other = heartbeat_file(broker_url="redis://127.0.0.1:6379/1", node="w@h")

    assert len({heartbeat_file(broker_url=REDIS, node="w@h"), heartbeat_file(broker_url=REDIS, node="v@h"), other}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REDIS, "redis://:s3cret@127.0.0.1:6379/0\n"),
        (REDIS, "redis://127.0.0.1:6379/0?socket_timeout=3"),
        ("sentinel://a:1;sentinel://b:2/0", "sentinel://:pw@a:1;sentinel://u:p@b:2/0?sentinel_password=x"),
    ],
)
def test_logins_and_options_of_the_broker_do_not_matter(one: str, other: str) -> None:
    """The name of a file says nothing of a secret, and a new password finds the same worker."""
    assert heartbeat_file(broker_url=one, node="w@h") == heartbeat_file(broker_url=other, node="w@h")


def test_a_beat_says_whose_it_is_and_since_when_that_is_known(folder: Path) -> None:
    """The folder is the user's own."""
    file = heartbeat_file(broker_url=REDIS, node="w@h")

    Heartbeat(file, "w@h").beat(1_700_000_000)

    beat = read_beat(file)
    assert (beat.node, beat.pid, beat.at) == ("w@h", os.getpid(), 1_700_000_000)
    assert beat.is_running
    assert heartbeat_files(broker_url=REDIS) == [file]
    assert heartbeat_folder().parent == folder
    assert heartbeat_folder().stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_taken_away_is_written_again() -> None:
    """By whatever tidies up the folder for temporary files."""
    file = heartbeat_file(broker_url=REDIS, node="w@h")
    heartbeat = Heartbeat(file, "w@h")
    heartbeat.beat(1)
    file.unlink()

    heartbeat.beat(2)
    heartbeat.beat(3)

    assert read_beat(file).at == 3


def test_a_process_that_ended_is_not_running() -> None:
    """Whatever the age of its file."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert not Beat("w@h", ended.pid, "", time.time()).is_running


def test_another_process_of_the_same_number_is_not_that_worker() -> None:
    """Numbers of processes come again: in a container, after each start."""
    assert not Beat("w@h", os.getpid(), "1", time.time()).is_running


def test_two_workers_of_one_file_are_warned(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Nothing is shared in silence: one that is dead would be called alive."""
    file = tmp_path / "shared"
    file.write_text(json.dumps({"node": "other@h", "pid": os.getppid(), "started": ""}))

    Heartbeat(file, "w@h").beat(time.time())

    assert f"is also that of the worker other@h (process {os.getppid()})" in caplog.text
    assert read_beat(file).node == "w@h"


def test_a_folder_of_another_user_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another user who can write to /tmp could make it first. The worker works on, and says it once."""
    heartbeat_folder().mkdir()
    mine = os.getuid()
    file = heartbeat_file(broker_url=REDIS, node="w@h")
    place = heartbeat_folder()
    monkeypatch.setattr("worker.runtime.heartbeat_file.heartbeat_folder", lambda: place)
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)

    heartbeat = Heartbeat(file, "w@h")
    heartbeat.beat(1)
    heartbeat.beat(2)

    assert not file.exists()
    assert caplog.text.count("belongs to another user") == 1


def test_what_no_worker_wrote_is_no_beat(tmp_path: Path) -> None:
    """An empty file, above all."""
    for number, content in enumerate(["", "[]", "{}", '{"pid": "1"}']):
        file = tmp_path / str(number)
        file.write_text(content)
        with pytest.raises(ValueError):  # noqa: PT011 - JSON's own, or ours
            read_beat(file)
