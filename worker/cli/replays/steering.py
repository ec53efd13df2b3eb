"""Saying what becomes of a replay: ``pause``, ``resume``, ``cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from worker.cli.database import opened
from worker.cli.dead_letters.asking import by_option
from worker.cli.output import say
from worker.cli.replays.words import outcome
from worker.cli.values import ANY_TEXT, Whole
from worker.replays import ReplayError
from worker.replays import cancel as cancel_plan
from worker.replays import pause as pause_plan
from worker.replays import resume as resume_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.replays import Plan

__all__ = ["cancel", "pause", "resume"]

_why = click.option("--why", default="", type=ANY_TEXT, help="Why, for whoever looks at it later.")


@click.command()
@click.argument("replay_id", metavar="ID", type=Whole(min=1))
@by_option
@_why
def pause(replay_id: int, by: str, why: str) -> None:
    """Let no more rows go until `aquilax-feedback replays resume`."""
    _steer(pause_plan, replay_id, by=by, why=why)


@click.command()
@click.argument("replay_id", metavar="ID", type=Whole(min=1))
@by_option
@_why
def resume(replay_id: int, by: str, why: str) -> None:
    """Let a paused replay go on."""
    _steer(resume_plan, replay_id, by=by, why=why)


@click.command()
@click.argument("replay_id", metavar="ID", type=Whole(min=1))
@by_option
@_why
def cancel(replay_id: int, by: str, why: str) -> None:
    """Let no more rows go, for ever. What went is delivered all the same; the rest stays dead."""
    _steer(cancel_plan, replay_id, by=by, why=why)


def _steer(order: Callable[..., Plan], replay_id: int, *, by: str, why: str) -> None:
    with opened() as engine:
        try:
            plan = order(engine, replay_id, by=by, why=why)
        except ReplayError as error:
            raise click.ClickException(str(error)) from None
    say(f"replay {plan.id} is {plan.state.value}: {outcome(plan)}")
