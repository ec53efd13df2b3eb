"""``aquilax-feedback dead-letters``: look at what was not delivered, send it again, or let it go."""

from __future__ import annotations

from typing import Final

import click

from worker.operations.cli.lazy_group import LazyGroup

__all__ = ["dead_letters"]

_COMMANDS: Final = {
    "discard": "worker.operations.cli.dead_letters.disposal:discard",
    "export": "worker.operations.cli.dead_letters.views:export",
    "list": "worker.operations.cli.dead_letters.views:list_",
    "prune": "worker.operations.cli.dead_letters.disposal:prune",
    "replay": "worker.operations.cli.dead_letters.replaying:replay",
    "show": "worker.operations.cli.dead_letters.views:show",
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def dead_letters() -> None:
    """Look at events that were not delivered, send them again, discard or forget them."""
