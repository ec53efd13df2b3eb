"""What a command asks, and tells, before it changes dead letters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from worker.dead_letters.ineligible import passed_over
from worker.operations.cli.actor import current_actor
from worker.operations.cli.output import say
from worker.operations.cli.param_types import ANY_TEXT

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from worker.dead_letters.selection import Selection

__all__ = ["actor_option", "confirm", "tell_passed_over"]

_FEW: Final = 10
"""Rows that are changed without asking: as many as one sees at a glance."""

actor_option: Final = click.option(
    "--actor", default=current_actor, type=ANY_TEXT, show_default="your login", help="The operator, for the audit log."
)


def tell_passed_over(engine: Engine, selection: Selection) -> bool:
    """Say which of the ids are not taken, and return whether all of them are."""
    problems = passed_over(engine, selection)
    for problem in problems:
        say(problem, err=True)
    return not problems


def confirm(verb: str, rows: int, selection: Selection, *, yes: bool) -> None:
    """Ask before many rows, or all there are, are changed; without a terminal, refuse."""
    if yes or not rows or (rows <= _FEW and not selection.is_everything):
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"this would {verb} {rows:,} rows: without a terminal to ask on, add --yes, or look first with --dry-run"
        )
    click.confirm(f"{verb.capitalize()} {rows:,} rows?", abort=True, err=True)
