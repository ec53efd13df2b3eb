"""``aquilax-feedback health``: is this worker well? For health checks: it asks only the disk, and imports little."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Final

import click

from worker.operations.cli.output import say
from worker.runtime.heartbeat_file import Beat, heartbeat_file, heartbeat_files, heartbeat_folder, node_name, read_beat

__all__ = ["health"]

_NO_BROKER: Final = "redis://127.0.0.1:6379/0"
"""Where a queue is that no setting names; a test compares it with the settings'."""

_START: Final = "start a worker, or say which with -n or FEEDBACK_HEARTBEAT_FILE, as it was started"


@click.command()
@click.option(
    "-n",
    "--hostname",
    "node",
    metavar="NODE",
    help="The worker's name, as it was given to `celery worker -n`. Needed where several run here.",
)
@click.option(
    "--max-age",
    type=click.FloatRange(min=1),
    callback=lambda _, __, seconds: _finite(seconds),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long ago the worker may have been well last.",
)
def health(node: str | None, max_age: float) -> None:
    """Exit with status 0 if this worker is well; else with 1, and say why.

    Well is a worker whose process is there, whose event loop turns, to which Redis answers, and whose lease on what it
    holds is renewed; also if all that it sends waits for slow answers. It touches a file then, every second: the one
    that FEEDBACK_HEARTBEAT_FILE names, or else one for its queue (FEEDBACK_BROKER_URL) and its name.
    """
    file, beat = _the_one(_named(node))
    age = max(time.time() - beat.at, 0)
    if not beat.is_running:
        raise click.ClickException(f"the worker {beat.node} has ended (process {beat.pid}, by {file}): start it again")
    if age > max_age:
        raise click.ClickException(
            f"the worker {beat.node} (process {beat.pid}) was well {age:.0f} s ago last (by {file}): see in its log "
            "whether it reaches Redis, and restart it if it does not say"
        )
    say(f"the worker {beat.node} was well {age:.0f} s ago")


def _finite(seconds: float) -> float:
    """Refuse NaN, than which no age is greater, and infinity."""
    if not math.isfinite(seconds):
        raise click.BadParameter("expected a number of seconds")
    return seconds


def _named(node: str | None) -> str | None:
    return None if node is None else node_name(node)


def _the_one(node: str | None) -> tuple[Path, Beat]:
    """Return the heartbeat of the worker that is meant."""
    if given := _given("FEEDBACK_HEARTBEAT_FILE"):
        file = Path(given)
        beat = _read(file)
        if node is not None and beat.node != node:
            raise click.ClickException(
                f"{file} is the heartbeat of the worker {beat.node}, and not of {node}: {_START}"
            )
        return file, beat
    broker_url = _setting("FEEDBACK_BROKER_URL") or _NO_BROKER
    if node is not None:
        file = heartbeat_file(broker_url=broker_url, node=node)
        return file, _read(file)
    return _only_one([(file, _read(file)) for file in heartbeat_files(broker_url=broker_url)])


def _only_one(found: list[tuple[Path, Beat]]) -> tuple[Path, Beat]:
    """Return the one that runs, or the last one that did."""
    if not found:
        raise click.ClickException(f"no worker of this queue has been well here (by {heartbeat_folder()}): {_START}")
    running = [one for one in found if one[1].is_running]
    if len(running) > 1:
        names = ", ".join(beat.node for _, beat in running)
        raise click.UsageError(f"several workers of this queue run here: name one with -n: {names}")
    return running[0] if running else max(found, key=lambda one: one[1].at)


def _read(file: Path) -> Beat:
    try:
        return read_beat(file)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise click.ClickException(f"no worker has been well here: {file}: {problem}: {_START}") from None


def _setting(name: str) -> str:
    """Return a setting, or what the file of its ``_FILE`` holds, without loading all of them (`worker.settings`)."""
    value, file = _given(name), _given(f"{name}_FILE")
    if not file:
        return value
    from producer.environment import secret  # noqa: PLC0415 - importing the producer takes as long as the rest of the command

    try:
        return secret({name: value, f"{name}_FILE": file}, name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _given(name: str) -> str:
    """Return a variable of the environment, or of ``.env``, without the line end that one made of a file has."""
    if value := os.environ.get(name):
        return value.removesuffix("\n").removesuffix("\r")
    if not Path(".env").is_file():
        return ""
    from dotenv import dotenv_values  # noqa: PLC0415 - python-dotenv is only needed where there is such a file

    return dotenv_values(".env").get(name) or ""
