"""The filters that every command on dead letters takes, and how a person may say a time."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Final

import click

from worker.database.models import State
from worker.dead_letters.replays import NoSuchReplay, find
from worker.dead_letters.selection import ANY_STATE, Selection
from worker.operations.cli.database import opened
from worker.operations.cli.param_types import TEXT, UUID, WholeNumber
from worker.operations.times import read_time
from worker.policy.parsing import read_whole
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

__all__ = ["opened_for", "row_id", "selecting", "time"]


def time(value: str) -> datetime:
    """Read a time: how long ago, as ``30m``, ``2h`` or ``7d``, or ISO 8601, in UTC unless it says otherwise."""
    try:
        return read_time(value, now=datetime.now(UTC))
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
    def with_selection(
        *,
        reasons: tuple[str, ...],
        states: tuple[str, ...],
        http_statuses: tuple[int, ...],
        orgs: tuple[str, ...],
        groups: tuple[str, ...],
        fingerprints: tuple[str, ...],
        request_ids: tuple[str, ...],
        since: datetime | None,
        until: datetime | None,
        rest_of: tuple[int, ...],
        ids: tuple[int, ...] = (),
        **others: object,
    ) -> None:
        selection = Selection(
            ids=ids,
            states=tuple(State) if ANY_STATE in states else tuple(map(State, states)),
            reasons=tuple(map(Reason, reasons)),
            http_statuses=http_statuses,
            orgs=orgs,
            groups=groups,
            fingerprints=fingerprints,
            request_ids=request_ids,
            since=since,
            until=until,
            rest_of=rest_of,
        )
        command(selection=selection, **others)

    for option in reversed(_OPTIONS):
        with_selection = option(with_selection)
    return with_selection
