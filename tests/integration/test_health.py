"""`aquilax-feedback health`: is this worker well, in words and an exit status, and for next to nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.support.processes import ROOT
from worker.operations.cli import main
from worker.operations.cli.health import _NO_BROKER
from worker.runtime.heartbeat_file import Heartbeat, heartbeat_file
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

REDIS = "redis://:s3cret@127.0.0.1:6380/2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder for temporary files, and no settings but the broker's address."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("FEEDBACK_BROKER_URL", REDIS)
    monkeypatch.delenv("FEEDBACK_HEARTBEAT_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


def worker(node: str = "w1@host", *, broker_url: str = REDIS, seconds_ago: float = 0, file: Path | None = None) -> Path:
    """Let a worker, which is this process, have been well so long ago."""
    place = file or heartbeat_file(broker_url=broker_url, node=node)
    Heartbeat(place, node).beat(time.time() - seconds_ago)
    return place


def ended(file: Path) -> None:
    """Let the worker of a file be one whose process has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    at = file.stat().st_mtime
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": process.pid}))
    os.utime(file, (at, at))


def health(*options: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(main, ["health", *options])


@pytest.mark.parametrize("seconds_ago", [0, 50, -3600])
def test_a_worker_that_was_well_lately_is_healthy(seconds_ago: float) -> None:
    """Also if the clock was set back since."""
    worker(seconds_ago=seconds_ago)

    done = health()

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("the worker w1@host was well ")


def test_a_worker_that_was_well_long_ago_says_what_to_do() -> None:
    """Docker keeps the sentence, and `docker inspect` shows it."""
    file = worker(seconds_ago=90)

    done = health()

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: the worker w1@host (process {os.getpid()}) was well 90 s ago last (by {file}): see in its log whether "
        "it reaches Redis, and restart it if it does not say\n"
    )


def test_how_long_ago_is_an_option() -> None:
    """A worker on a slow machine is given more time, and a strict one less."""
    worker(seconds_ago=30)

    assert [health("--max-age", seconds).exit_code for seconds in ("10", "29", "120")] == [1, 1, 0]


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_an_age_that_nothing_exceeds_is_refused(seconds: str) -> None:
    """With it every worker would be well."""
    assert health("--max-age", seconds).exit_code == 2


def test_a_worker_that_has_ended_is_dead_at_once() -> None:
    """Whatever the age of its file, and however many others of this user are well."""
    ended(worker())
    worker(broker_url="redis://127.0.0.1:6380/3")

    done = health()

    assert done.exit_code == 1
    assert done.stderr.startswith("Error: the worker w1@host has ended (process ")


def test_without_a_file_no_worker_has_ever_been_well(tmp_path: Path) -> None:
    """A worker of another deployment of this user is none of ours."""
    worker(broker_url="redis://127.0.0.1:6380/3")

    done = health()

    assert done.exit_code == 1
    assert f"no worker of this queue has been well here (by {tmp_path}/aquilax-feedback-{os.getuid()})" in done.stderr


def test_of_several_workers_one_must_be_named() -> None:
    """As it was named to Celery. One that has ended is not meant, unless it is named."""
    worker("w1@host")
    worker("w2@host", seconds_ago=90)
    ended(worker("w3@host"))

    assert health().exit_code == 2
    assert "name one with -n: w1@host, w2@host" in health().stderr
    assert [health("-n", f"w{number}@host").exit_code for number in (1, 2, 3, 4)] == [0, 1, 1, 1]


def test_the_setting_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the worker has it. A file that another worker writes is not taken for this one's."""
    file = worker("w1@host", file=tmp_path / "heartbeat")
    monkeypatch.setenv("FEEDBACK_HEARTBEAT_FILE", str(file))

    assert health().exit_code == 0
    assert health("-n", "w1@host").exit_code == 0
    assert "is the heartbeat of the worker w1@host, and not of w2@host" in health("-n", "w2@host").stderr


@pytest.mark.parametrize("given", ["file", ".env", ".env file"])
def test_the_broker_is_read_as_the_worker_reads_it(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file with the secret, or from .env."""
    monkeypatch.delenv("FEEDBACK_BROKER_URL")
    secret = tmp_path / "url"
    secret.write_text(f"{REDIS}\n")
    match given:
        case "file":
            monkeypatch.setenv("FEEDBACK_BROKER_URL_FILE", str(secret))
        case ".env":
            (tmp_path / ".env").write_text(f"FEEDBACK_BROKER_URL={REDIS}\n")
        case _:
            (tmp_path / ".env").write_text(f"FEEDBACK_BROKER_URL_FILE={secret}\n")
    worker()

    assert health().exit_code == 0


def test_no_setting_means_the_same_broker_as_to_a_worker() -> None:
    """It stands in two places, because the settings take long to import."""
    default = Settings.model_fields["feedback_broker_url"].default

    assert default.get_secret_value() == _NO_BROKER


def test_a_call_costs_next_to_nothing() -> None:
    """It is called every few seconds, beside a worker that needs the CPU: it imports nothing that takes long."""
    worker()
    command = [sys.executable, "-X", "importtime", "-m", "worker.operations.cli", "health"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    slow = {"celery", "kombu", "sqlalchemy", "redis", "pydantic", "requests", "gevent", "importlib.metadata", "rich"}
    assert done.stdout.startswith("the worker w1@host was well ")
    assert not slow & imported
    # CPU, and not the wall clock, which other tests use as well; coverage and `importtime` take their share.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
