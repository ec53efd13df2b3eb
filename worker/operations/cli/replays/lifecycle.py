"""Saying what becomes of a replay: ``pause``, ``resume``, ``cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from worker.dead_letters.replays.errors import ReplayError
from worker.dead_letters.replays.lifecycle import cancel as cancel_plan
from worker.dead_letters.replays.lifecycle import pause as pause_plan
from worker.dead_letters.replays.lifecycle import resume as resume_plan
from worker.operations.cli.database import opened
from worker.operations.cli.dead_letters.confirmation import actor_option
from worker.operations.cli.output import say
from worker.operations.cli.param_types import ANY_TEXT, WholeNumber
from worker.operations.cli.replays.summaries import outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.dead_letters.replays.queries import Plan

__all__ = ["cancel", "pause", "resume"]

_comment = click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")


@click.command()
@click.argument("replay_id", metavar="ID", type=WholeNumber(min=1))
@actor_option
@_comment
def pause(replay_id: int, actor: str, comment: str) -> None:
    """Let no more rows go until `aquilax-feedback replays resume`."""
    _steer(pause_plan, replay_id, actor=actor, comment=comment)


@click.command()
@click.argument("replay_id", metavar="ID", type=WholeNumber(min=1))
@actor_option
@_comment
def resume(replay_id: int, actor: str, comment: str) -> None:
    """Let a paused replay go on."""
    _steer(resume_plan, replay_id, actor=actor, comment=comment)


@click.command()
@click.argument("replay_id", metavar="ID", type=WholeNumber(min=1))
@actor_option
@_comment
def cancel(replay_id: int, actor: str, comment: str) -> None:
    """Let no more rows go, for ever. What went is delivered all the same; the rest stays dead."""
    _steer(cancel_plan, replay_id, actor=actor, comment=comment)


def _steer(order: Callable[..., Plan], replay_id: int, *, actor: str, comment: str) -> None:
    with opened() as engine:
        try:
            plan = order(engine, replay_id, actor=actor, comment=comment)
        except ReplayError as error:
            raise click.ClickException(str(error)) from None
    say(f"replay {plan.id} is {plan.state.value}: {outcome(plan)}")
