"""``aquilax-feedback tokens``: the tokens of programs that call the dashboard's API."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from worker.operations.cli.database import opened
from worker.operations.cli.output import json_text, say, shown
from worker.operations.cli.param_types import ANY_TEXT, actor_option
from worker.operations.text import utc
from worker.operations.tokens import Token, TokenError, create_token, list_tokens, revoke_token
from worker.policy.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["tokens"]

_LASTS: Final = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}


def _lasts(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    read = _LASTS.fullmatch(value)
    if read is None:
        raise click.BadParameter(f"{value[:40]!r}: expected hours, days or weeks, such as 12h, 90d or 52w")
    return timedelta(**{_UNITS[read[2]]: int(read[1])})


@click.group()
def tokens() -> None:
    """Make, list and revoke the tokens of programs that call the dashboard's API.

    A program sends its token in the header `Authorization: Bearer afb_...`, to /api/feedback alone.
    """


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    required=True,
    type=click.Choice([role.value for role in Role]),
    help="What it allows: to look, or to act as well.",
)
@click.option(
    "--expires",
    "lasts",
    default="90d",
    show_default=True,
    callback=_lasts,
    metavar="TIME",
    help="How long it is good for: 12h, 90d, 52w.",
)
@click.option("--comment", default="", type=ANY_TEXT, help="What it is for; it is kept in the audit log.")
@actor_option
def create(name: str, scope: str, lasts: timedelta, comment: str, actor: str) -> None:
    """Make a token of the name NAME, and print it: it is shown this once.

    The audit log has what is done with it as done by `token NAME`. A name is given once, also if its token is revoked.
    """
    with _database() as engine:
        token = create_token(engine, name, scope=Role(scope), lasts=lasts, actor=actor, comment=comment)
    say(token)
    say(f"{name} may {scope} until {utc(datetime.now(UTC) + lasts)}; keep it now, it is stored nowhere", err=True)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_command(*, as_json: bool) -> None:
    """List the tokens, the latest first: how each begins, its scope, until when it is good, and its last use."""
    with _database() as engine:
        found, now = list_tokens(engine), datetime.now(UTC)
    if as_json:
        say(json_text({"tokens": [token.to_record(now) for token in found]}, indent=2))
        return
    for token in found:
        say(_line(token, now))
    if not found:
        say("there are no tokens")


def _line(token: Token, now: datetime) -> str:
    until = "" if token.revoked_at is None else f" (revoked {utc(token.revoked_at)})"
    used = "never used" if token.last_used_at is None else f"used {utc(token.last_used_at)}"
    made = f"made {utc(token.created_at)} by {shown(token.created_by)}"
    expiry = f"{token.state(now)}, until {utc(token.expires_at)}{until}"
    return f"{token.name}  {token.prefix}…  {token.scope.value}  {expiry}  {used}  {made}"


@tokens.command()
@click.argument("name")
@click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
@actor_option
def revoke(name: str, comment: str, actor: str) -> None:
    """Refuse the token NAME from now on. A request that is being answered is finished."""
    with _database() as engine:
        revoke_token(engine, name, actor=actor, comment=comment)
    say(f"revoked {name}: it is refused from now on")


@contextmanager
def _database() -> Iterator[Engine]:
    """Open the database; end the command where a token can't be made or revoked as asked."""
    with opened() as engine:
        try:
            yield engine
        except TokenError as error:
            raise click.ClickException(str(error)) from None
