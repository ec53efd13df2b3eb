"""``aquilax-feedback replays``: look at replay plans, and pause, resume or cancel them."""

from __future__ import annotations

import click

from worker.operations.cli.replays.lifecycle import cancel, pause, resume
from worker.operations.cli.replays.views import list_, show

__all__ = ["replays"]


@click.group()
def replays() -> None:
    """Look at replays, and pause, resume or cancel them; `dead-letters replay` makes one."""


for _command in (list_, show, pause, resume, cancel):
    replays.add_command(_command)
