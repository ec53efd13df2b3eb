"""``aquilax-feedback`` in this process, for tests of what a command does: a process takes a second to start."""

from __future__ import annotations

import json
import os
from contextlib import chdir, closing
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from tests.support.processes import eventually
from worker.app import create_app
from worker.operations.cli import main
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["command", "record_of", "reply_to", "succeed", "typed"]


def command(environment: Mapping[str, str], *arguments: str) -> Result:
    """Run a command with the settings of this environment alone, and without a terminal to ask on."""
    foreign = {name: None for name in os.environ if name.startswith(("AQUILAX_", "FEEDBACK_"))}
    return CliRunner().invoke(main, arguments, env=foreign | dict(environment))


def succeed(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command that must end well, and return what it printed."""
    ended = command(environment, *arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def typed(environment: Mapping[str, str], folder: Path, *arguments: str) -> Result:
    """Run a command in a folder, as an operator types it on a wide terminal; `output` is what is then on it."""
    with chdir(folder):
        ended = command({**environment, "COLUMNS": "200"}, *arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exc_info
    return ended


def record_of(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """What a command prints with ``--json``."""
    ended = command(environment, *arguments, "--json")
    assert ended.stdout, ended.output
    record: dict[str, Any] = json.loads(ended.stdout)
    return record


def reply_to(environment: Mapping[str, str], remote_command: str, **arguments: object) -> dict[str, Any]:
    """What the one worker replies to a command of Celery's remote control; in a cluster it subscribes late."""
    broker, database = environment["FEEDBACK_BROKER_URL"], environment["FEEDBACK_DATABASE_URL"]
    settings = load_settings(feedback_broker_url=broker, feedback_database_url=database, _env_file=None)
    with closing(create_app(settings)) as app:

        def ask() -> list[dict[str, Any]]:
            replies: list[dict[str, Any]] = app.control.broadcast(
                remote_command, arguments=arguments, reply=True, limit=1, timeout=10
            )
            return replies

        (reply,) = eventually(ask, timeout=60, what=f"a worker replies to {remote_command}")
    answer: dict[str, Any] = next(iter(reply.values()))
    return answer
