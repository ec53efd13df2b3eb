"""The rows that a command on dead letters is for: its filters, and the question before many rows are changed."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from worker.database.models import State
from worker.dead_letters.ineligible import passed_over
from worker.dead_letters.replays.errors import NoSuchReplay
from worker.dead_letters.replays.queries import find
from worker.dead_letters.selection import ANY_STATE, Selection
from worker.operations.cli.database import opened
from worker.operations.cli.output import say
from worker.operations.cli.param_types import TEXT, UUID, WholeNumber
from worker.operations.text import read_time, read_time_to_come
from worker.policy.parsing import read_whole
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

__all__ = ["confirm", "of_the_dead", "opened_for", "row_id", "selecting", "tell_passed_over", "time", "time_to_come"]

_FEW: Final = 10
"""Rows that are changed without asking: as many as one sees at a glance."""


def time(value: str) -> datetime:
    """Read a time as `worker.operations.text.read_time` does."""
    try:
        return read_time(value, now=datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def time_to_come(value: str) -> datetime:
    """Read a time to come, within a year."""
    try:
        return read_time_to_come(value, now=datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def row_id(value: str) -> int:
    """Read the id of a dead letter."""
    try:
        return read_whole(value, least=1)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no dead letter's id: expected a number as `dead-letters list` prints it; "
            "a request_id goes with --request-id"
        ) from None


_OPTIONS: Final = (
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice([reason.value for reason in Reason]),
        help="Why it died.",
    ),
    click.option(
        "--http-status",
        "http_statuses",
        multiple=True,
        type=WholeNumber(100, 999),
        help="The status of the last answer.",
    ),
    click.option("--org", "orgs", multiple=True, type=TEXT, help="The organization's id."),
    click.option("--group", "groups", multiple=True, type=TEXT, help="The group's id."),
    click.option("--since", type=time, help="Died at this time or later: ISO 8601 (UTC), or 2h, 30m, 7d ago."),
    click.option("--until", type=time, help="Died before this time."),
    click.option(
        "--fingerprint",
        "fingerprints",
        multiple=True,
        type=TEXT,
        help="The cause, as `list --group-by fingerprint` prints it.",
    ),
    click.option("--request-id", "request_ids", multiple=True, type=UUID, help="The AI request's id."),
    click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice([*(state.value for state in State), ANY_STATE]),
        help="What has become of it.",
    ),
    click.option(
        "--rest-of",
        multiple=True,
        type=WholeNumber(min=1),
        metavar="REPLAY",
        help="A replay that was stopped or cancelled before it sent it.",
    ),
)


@contextmanager
def opened_for(selection: Selection) -> Iterator[Engine]:
    """Open the database for the rows of a selection; a replay that it names must be there, else: status 2."""
    with opened() as engine:
        for number in selection.rest_of:
            try:
                find(engine, number)
            except NoSuchReplay as error:
                raise click.BadParameter(str(error), param_hint="--rest-of") from None
        yield engine


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the filters as options, and their values as its argument ``selection``.

    An option may be given several times: any of its values fits. Different options must all fit.
    """

    @wraps(command)
    def with_selection(*, states: tuple[str, ...], reasons: tuple[str, ...], **options: Any) -> None:
        selection = Selection(
            states=tuple(State) if ANY_STATE in states else tuple(map(State, states)),
            reasons=tuple(map(Reason, reasons)),
            **{field.name: options.pop(field.name) for field in fields(Selection) if field.name in options},
        )
        command(selection=selection, **options)

    for option in reversed(_OPTIONS):
        with_selection = option(with_selection)
    return with_selection


def of_the_dead(selection: Selection) -> Selection:
    """Return a selection of the dead, unless it chooses states: these are what a list without a state has."""
    return selection if selection.states else replace(selection, states=(State.DEAD,))


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
