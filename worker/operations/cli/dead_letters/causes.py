"""``aquilax-feedback dead-letters causes``: triage what dead letters died of."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from worker.dead_letters.triage import NoSuchCause
from worker.operations.cause_decisions import Verb, decide
from worker.operations.causes import Show, details_of, record_of, triaged
from worker.operations.cli.database import opened
from worker.operations.cli.dead_letters.filters import of_the_dead, opened_for, selecting
from worker.operations.cli.dead_letters.tables import print_lines, short_time
from worker.operations.cli.output import json_text, say
from worker.operations.cli.param_types import ANY_TEXT, COMMENT, FINGERPRINT, WholeNumber, actor_option
from worker.operations.text import utc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from worker.dead_letters.selection import Selection
    from worker.dead_letters.triage import Triage
    from worker.operations.causes import CauseDetails, TriagedCause

__all__ = ["causes"]

_NARROW: Final = ("rows", "fingerprint", "status", "summary")


@click.group()
def causes() -> None:
    """Triage what dead letters died of: what is new, acknowledged, muted or resolved, and whose it is."""


@causes.command("list")
@selecting
@click.option(
    "--show",
    type=click.Choice([show.value for show in Show]),
    default=Show.UNMUTED.value,
    show_default=True,
    help="Which of them: new is first seen, or come back, within 24 hours.",
)
@click.option("--limit", type=WholeNumber(min=1), default=50, show_default=True, help="Causes at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(selection: Selection, show: str, limit: int, as_json: bool) -> None:
    """List causes: the new ones first, then the unacknowledged ones, then the rest; among equals by their rows."""
    with opened_for(selection) as engine:
        found = triaged(engine, of_the_dead(selection), show=Show(show), now=datetime.now(UTC))
    shown = found.causes[:limit]
    if as_json:
        say(json_text([cause.to_record() for cause in shown], indent=2))
        return
    print_lines([_line(cause) for cause in shown], narrow=_NARROW)
    muted = found.numbers[Show.MUTED] if Show(show) not in {Show.MUTED, Show.ANY} else 0
    hidden = f"; {muted:,} muted: --show muted" if muted else ""
    say(f"{len(shown):,} of {len(found.over_time.causes):,} causes shown{hidden}", err=True)


def _line(cause: TriagedCause) -> dict[str, str]:
    return {
        "rows": str(cause.count.rows),
        "fingerprint": cause.count.fingerprint,
        "status": _status(cause.triage, cause.now),
        "owner": cause.triage.owner,
        "first seen (UTC)": short_time(cause.triage.first_seen_at),
        "last seen (UTC)": short_time(cause.triage.last_seen_at),
        "last day": str(cause.count.last_day),
        "day before": str(cause.count.day_before),
        "summary": cause.count.summary,
    }


def _status(triage: Triage, now: datetime) -> str:
    """Return the mark of a cause, as the pages have it."""
    if triage.is_muted(now):
        return "muted"
    if triage.came_back:
        return "came back"
    return "new" if triage.is_new(now) and triage.state.value == "open" else triage.state.value


@causes.command()
@click.argument("fingerprint", type=FINGERPRINT)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(fingerprint: str, as_json: bool) -> None:
    """Show all that is known of a cause, and what operators did with it."""
    with opened() as engine, _known():
        found = details_of(engine, fingerprint, now=datetime.now(UTC))
    if as_json:
        say(json_text(found.to_record(), indent=2))
        return
    _print(found)


def _print(found: CauseDetails) -> None:
    record = found.to_record()
    for name in ("counts", "history", "first_failed_at", "last_failed_at"):
        record.pop(name, None)
    for name, value in record.items():
        if value is not None:
            text = str(value).lower() if isinstance(value, bool) else value
            say(f"{name + ':':<20}{text}")
    for done in found.history:
        more = "".join(f", {name} {value}" for name, value in done.details.items())
        comment = f": {done.comment}" if done.comment else ""
        say(f"{utc(done.at)}  {done.action.removeprefix('cause.')} by {done.actor}{more}{comment}")


def _deciding(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that changes a cause what all of these take."""
    options = (
        click.argument("fingerprint", type=FINGERPRINT),
        actor_option,
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


_comment: Final = click.option(
    "--comment", default="", type=ANY_TEXT, help="The reason; it is kept with the cause, in the audit log."
)


def _decide(fingerprint: str, verb: Verb, *, value: str = "", actor: str, comment: str, as_json: bool) -> None:
    now = datetime.now(UTC)
    with opened() as engine, _known():
        try:
            triage = decide(engine, fingerprint, verb, value=value, comment=comment, actor=actor, now=now)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        say(json_text(record_of(triage, now), indent=2))
        return
    say(f"{fingerprint} is {_status(triage, now)}{_more(triage, now, verb)}: {triage.summary}")


def _more(triage: Triage, now: datetime, verb: Verb) -> str:
    """Return what else a change has to tell of."""
    until = triage.muted_until
    parts = [
        f" until {utc(until)}" if until is not None and triage.is_muted(now) else "",
        f", owner {triage.owner}" if triage.owner else "",
        f", runbook {triage.runbook_url}" if verb is Verb.RUNBOOK and triage.runbook_url else "",
    ]
    return "".join(parts)


@contextmanager
def _known() -> Iterator[None]:
    """End the command with status 1 where there is no such cause."""
    try:
        yield
    except NoSuchCause as error:
        raise click.ClickException(str(error)) from None


@causes.command()
@_deciding
@_comment
def acknowledge(fingerprint: str, **given: Any) -> None:
    """Say that a cause is known, and that an operator sees to it."""
    _decide(fingerprint, Verb.ACKNOWLEDGE, **given)


@causes.command()
@_deciding
@_comment
def resolve(fingerprint: str, **given: Any) -> None:
    """Say that a cause is fixed. If anything dies of it after that, it has come back, and is open again."""
    _decide(fingerprint, Verb.RESOLVE, **given)


@causes.command()
@_deciding
@_comment
def reopen(fingerprint: str, **given: Any) -> None:
    """Take back that a cause is acknowledged or resolved."""
    _decide(fingerprint, Verb.REOPEN, **given)


@causes.command()
@_deciding
@click.option(
    "--until",
    required=True,
    type=ANY_TEXT,
    metavar="TIME",
    help="How long: 30m, 4h or 7d from now; or until when, in ISO 8601 (UTC).",
)
@_comment
def mute(fingerprint: str, until: str, **given: Any) -> None:
    """Leave a cause out of lists and notifications until a time. Then it is there again by itself."""
    _decide(fingerprint, Verb.MUTE, value=until, **given)


@causes.command()
@_deciding
@_comment
def unmute(fingerprint: str, **given: Any) -> None:
    """End the muting of a cause."""
    _decide(fingerprint, Verb.UNMUTE, **given)


@causes.command()
@_deciding
@click.argument("owner", type=ANY_TEXT)
@_comment
def assign(fingerprint: str, owner: str, **given: Any) -> None:
    """Give a cause an owner; '' takes it away."""
    _decide(fingerprint, Verb.ASSIGN, value=owner, **given)


@causes.command()
@_deciding
@click.argument("url", type=ANY_TEXT)
@_comment
def runbook(fingerprint: str, url: str, **given: Any) -> None:
    """Link a cause to your own page about it; '' takes the link away."""
    _decide(fingerprint, Verb.RUNBOOK, value=url, **given)


@causes.command()
@_deciding
@click.argument("text", type=COMMENT)
def note(fingerprint: str, text: str, **given: Any) -> None:
    """Keep a note with a cause."""
    _decide(fingerprint, Verb.NOTE, comment=text, **given)
