"""Looking at replays: ``list``, ``show``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import redis

from worker.database.audit_log import actions
from worker.database.replay_models import ReplayState, RowState
from worker.dead_letters.replays.attendance import START_A_REPLAY_WORKER
from worker.dead_letters.replays.errors import NoSuchReplay
from worker.dead_letters.replays.queries import find, plans, rows
from worker.dead_letters.replays.queue import REPLAYS, workers_watch
from worker.operations.cli.broker import broker
from worker.operations.cli.database import opened
from worker.operations.cli.dead_letters.tables import print_lines, short_time
from worker.operations.cli.output import json_text, say
from worker.operations.cli.param_types import WholeNumber
from worker.operations.cli.replays.summaries import Aftermath, outcome
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.database.audit_log import Action
    from worker.dead_letters.replays.queries import Plan, PlanRow

__all__ = ["list_", "show"]


@click.command("list")
@click.option("--active", is_flag=True, help="Only those that have not ended.")
@click.option("--limit", type=WholeNumber(min=1), default=20, show_default=True, help="Replays at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, active: bool, limit: int, as_json: bool) -> None:
    """List replays, the newest first."""
    with opened() as engine:
        found = plans(engine, active=active, limit=limit)
    _warn_if_unwatched(found)
    if as_json:
        _print_json([plan.to_record() for plan in found])
        return
    print_lines([_line(plan) for plan in found], narrow=("id", "created (UTC)", "state", "actor", "outcome"))


def _line(plan: Plan) -> dict[str, str]:
    return {
        "id": str(plan.id),
        "created (UTC)": short_time(plan.created_at),
        "state": plan.state.value,
        "actor": plan.actor,
        "comment": plan.comment,
        "outcome": outcome(plan),
    }


@click.command()
@click.argument("replay_id", metavar="ID", type=WholeNumber(min=1))
@click.option(
    "--row-state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RowState]),
    help="Show rows of this state; may be given several times.",
)
@click.option("--limit", type=WholeNumber(min=0), default=20, show_default=True, help="Rows at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(replay_id: int, states: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    """Show all that is known of one replay: who made it and why, how far it is, and its rows in their order."""
    with opened() as engine:
        try:
            plan = find(engine, replay_id)
        except NoSuchReplay as error:
            raise click.ClickException(str(error)) from None
        its_rows = rows(engine, replay_id, states=tuple(map(RowState, states)), limit=limit)
        its_actions = actions(engine, target=f"replay {replay_id}")
        aftermath = Aftermath.of(engine, plan)
    _warn_if_unwatched([plan])
    if as_json:
        told = {"rows": list(map(_plain, its_rows)), "actions": list(map(_plain, its_actions))}
        _print_json(plan.to_record() | aftermath.to_record() | told)
        return
    _print_plan(plan, aftermath)
    _print_actions(its_actions)
    _print_rows(its_rows)


def _print_plan(plan: Plan, aftermath: Aftermath) -> None:
    told: dict[str, object] = {
        "id": plan.id,
        "state": plan.state.value,
        "outcome": outcome(plan),
        "stopped": plan.stopped_because,
        "left": None if plan.left is None else span(plan.left),
        "rows": json_text(plan.selection) if plan.selection else "all that were dead",
        "rate": None if plan.rate is None else f"{plan.rate:g} a second",
        "canary": plan.canary or None,
        "set_org": plan.set_org,
        "set_group": plan.set_group,
        "actor": plan.actor,
        "comment": plan.comment,
        **{
            name: getattr(plan, name)
            for name in ("created_at", "begins_at", "started_at", "canary_passed_at", "ended_at")
        },
    }
    for name, value in [*told.items(), *aftermath.lines()]:
        if value is not None and value != "":
            say(f"{name + ':':<20}{value.isoformat() if isinstance(value, datetime) else value}")


def _print_actions(its_actions: Sequence[Action]) -> None:
    for action in reversed(its_actions):
        comment = f": {action.comment}" if action.comment else ""
        say(f"{short_time(action.at)}  {action.action.removeprefix('replay.')} by {action.actor}{comment}")


def _print_rows(its_rows: Sequence[PlanRow]) -> None:
    if its_rows:
        say()
    lines = [
        {
            "dead letter": str(row.dead_letter_id),
            "canary": "yes" if row.is_canary else "",
            "state": row.state.value,
            "request_id": row.request_id or "",
            "detail": row.comment or row.summary or "",
        }
        for row in its_rows
    ]
    print_lines(lines, narrow=("dead letter", "canary", "state", "request_id", "detail"))


def _plain(seen: PlanRow | Action) -> dict[str, Any]:
    return {name: at.isoformat() if isinstance(at, datetime) else at for name, at in asdict(seen).items()}


def _print_json(value: object) -> None:
    say(json_text(value, indent=2))


def _warn_if_unwatched(plans: Sequence[Plan]) -> None:
    """Print a line on standard error if a plan waits for a worker and none takes its steps."""
    if not any(plan.is_active and plan.state is not ReplayState.PAUSED for plan in plans):
        return
    try:
        with broker() as partitions:
            watched = workers_watch(partitions.home)
    except redis.RedisError:
        return  # what Redis says is not known, and what the table says stands
    if not watched:
        say(f"no worker consumes {REPLAYS}: {START_A_REPLAY_WORKER}", err=True)
