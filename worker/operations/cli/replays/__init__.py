"""``aquilax-feedback replays``: look at replay plans, and pause, resume or cancel them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from worker.dead_letters.replays import lifecycle
from worker.dead_letters.replays.errors import ReplayError
from worker.operations.cli.database import opened
from worker.operations.cli.output import say
from worker.operations.cli.param_types import ANY_TEXT, WholeNumber, actor_option
from worker.operations.cli.replays.summaries import outcome
from worker.operations.cli.replays.views import list_, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.dead_letters.replays.queries import Plan

__all__ = ["replays"]


@click.group()
def replays() -> None:
    """Look at replays, and pause, resume or cancel them; `dead-letters replay` makes one."""


def _lifecycle(steer: Callable[..., Plan], help_text: str) -> click.Command:
    @click.command(steer.__name__, help=help_text)
    @click.argument("replay_id", metavar="ID", type=WholeNumber(min=1))
    @actor_option
    @click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
    def command(replay_id: int, actor: str, comment: str) -> None:
        with opened() as engine:
            try:
                plan = steer(engine, replay_id, actor=actor, comment=comment)
            except ReplayError as error:
                raise click.ClickException(str(error)) from None
        say(f"replay {plan.id} is {plan.state.value}: {outcome(plan)}")

    return command


for _command in (
    list_,
    show,
    _lifecycle(lifecycle.pause, "Let no more rows go until `aquilax-feedback replays resume`."),
    _lifecycle(lifecycle.resume, "Let a paused replay go on."),
    _lifecycle(
        lifecycle.cancel, "Let no more rows go, for ever. What went is delivered all the same; the rest stays dead."
    ),
):
    replays.add_command(_command)
