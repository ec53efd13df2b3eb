"""`aquilax-feedback worker`: Celery's worker command, without what no worker needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.support.environment import clean_environment
from worker.operations.cli.start_worker import start_worker

COMMAND = [sys.executable, "-X", "importtime", "-m", "worker.operations.cli", "worker"]


def _run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = clean_environment() | environment
    return subprocess.run([*COMMAND, *options], env=env, capture_output=True, text=True, check=False)


def test_its_options_are_those_of_celerys_worker() -> None:
    """Its --help needs no settings."""
    ended = _run("--help")

    assert ended.returncode == 0
    assert "--prefetch-multiplier" in ended.stdout


def test_neither_a_shell_nor_flower_is_imported_and_an_option_may_stand_in_celerys_variable() -> None:
    """They took a tenth of a worker's memory. The app is loaded here: Celery asks it while it reads the options."""
    ended = _run(AQUILAX_API_KEY="not-used-here", CELERY_WORKER_HEARTBEAT_INTERVAL="often")

    assert ended.returncode == 2
    assert "--heartbeat-interval" in ended.stderr
    assert "'often'" in ended.stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines()}
    assert {"celery.bin.worker", "worker.app"} <= imported
    assert not imported & {"click_repl", "prompt_toolkit", "flower", "tornado", "celery.bin.celery"}


@pytest.mark.parametrize(
    "options",
    [["-P", "gevent"], ["-Peventlet"], ["--pool=gevent"], ["-l", "INFO", "--pool", "eventlet"], ["-D"], ["--detach"]],
)
def test_what_celerys_command_has_to_start_itself_is_left_to_it(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pools that patch Python do it before anything is imported, and a daemon is started as `celery …` again."""
    started: list[list[str]] = []

    def replace(_: str, command: list[str]) -> None:
        started.append(command)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", replace)

    CliRunner().invoke(start_worker, options)

    assert started == [[sys.executable, "-m", "celery", "-A", "worker", "worker", *options]]
