"""``aquilax-feedback dead-letters``: look at what was not delivered, send it again, or let it go."""

from __future__ import annotations

import click

from worker.operations.cli.dead_letters.disposal import discard, prune
from worker.operations.cli.dead_letters.replaying import replay
from worker.operations.cli.dead_letters.views import export, list_, show

__all__ = ["dead_letters"]


@click.group()
def dead_letters() -> None:
    """Look at events that were not delivered, send them again, discard or forget them."""


for _command in (list_, show, replay, discard, export, prune):
    dead_letters.add_command(_command)
