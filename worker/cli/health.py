"""``aquilax-feedback health``: is this machine's worker at work? For health checks, so it asks nobody but the disk."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from worker.cli.database import settings
from worker.durations import span

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["health"]


@click.command()
@click.option(
    "--max-age",
    type=click.FloatRange(min=1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long ago the worker may have been heard of last.",
)
def health(max_age: float) -> None:
    """Exit with status 0 if a worker here took messages lately, or was told that there are none; else with 1.

    A worker touches FEEDBACK_HEARTBEAT_FILE whenever Redis answers it. Workers of one machine that are watched one by
    one need a file each.
    """
    file = settings().heartbeat_file
    age = _age(file)
    if age > timedelta(seconds=max_age):
        raise click.ClickException(
            f"no worker has consumed for {span(age)} (by {file}): see in its log whether it reaches Redis, "
            "and restart it if it does not say"
        )
    click.echo(f"a worker consumed {span(age)} ago")


def _age(file: Path) -> timedelta:
    """How long ago a file was touched."""
    try:
        return timedelta(seconds=max(time.time() - file.stat().st_mtime, 0))
    except OSError as error:
        raise click.ClickException(
            f"no worker has consumed here: {file} can't be looked at ({error.strerror}): start a worker, "
            "or set FEEDBACK_HEARTBEAT_FILE to what that worker has"
        ) from None
