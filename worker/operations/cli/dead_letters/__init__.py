"""``aquilax-feedback dead-letters``: look at what was not delivered, triage it, send it again, or let it go."""

from __future__ import annotations

from typing import Final

import click

from worker.operations.cli.lazy_group import LazyCommand, LazyGroup

__all__ = ["dead_letters"]

_COMMANDS: Final = {
    "causes": LazyCommand(
        "worker.operations.cli.dead_letters.causes:causes",
        "Triage what dead letters died of: what is new, acknowledged, muted or resolved, and whose it is.",
    ),
    "discard": LazyCommand(
        "worker.operations.cli.dead_letters.disposal:discard",
        "Decide that dead letters shall not be delivered. The rows stay, and can be replayed with --state discarded.",
    ),
    "export": LazyCommand(
        "worker.operations.cli.dead_letters.views:export",
        "Write dead letters of every state to a file, oldest first, with their raw messages.",
    ),
    "list": LazyCommand(
        "worker.operations.cli.dead_letters.views:list_",
        "List dead letters, the newest death first: those that are dead, or of the states of --state.",
    ),
    "prune": LazyCommand(
        "worker.operations.cli.dead_letters.disposal:prune",
        "Delete what is over: dead letters that were delivered after all or discarded, and replays that have ended.",
    ),
    "replay": LazyCommand(
        "worker.operations.cli.dead_letters.replaying:replay",
        "Put dead letters back into the queue: those of the IDs, or those that fit the filters.",
    ),
    "show": LazyCommand(
        "worker.operations.cli.dead_letters.views:show",
        "Show all that is known of one dead letter, or of all those of one request_id.",
    ),
}


@click.group(cls=LazyGroup, lazy=_COMMANDS)
def dead_letters() -> None:
    """Look at events that were not delivered, send them again, discard or forget them."""
