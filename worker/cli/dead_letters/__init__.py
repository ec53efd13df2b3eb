"""``aquilax-feedback dead-letters``: look at what was not delivered, send it again, or let it go."""

from __future__ import annotations

import click

from worker.cli.dead_letters.discarding import discard
from worker.cli.dead_letters.looking import export, list_, show
from worker.cli.dead_letters.pruning import prune
from worker.cli.dead_letters.replaying import replay

__all__ = ["dead_letters"]


@click.group()
def dead_letters() -> None:
    """Look at events that were not delivered, send them again, discard or forget them."""


for _command in (list_, show, replay, discard, export, prune):
    dead_letters.add_command(_command)
