"""``aquilax-feedback db``: the version of the dead-letter table."""

from __future__ import annotations

from typing import Final

import click

from worker.database.schema import BASE, current_revision, head_revision
from worker.database.schema import downgrade as downgrade_schema
from worker.database.schema import upgrade as upgrade_schema
from worker.operations.cli.database import explained, opened, settings
from worker.operations.cli.output import say
from worker.operations.database import database_url

__all__ = ["db"]

_EVERYTHING: Final = "every dead letter, every replay and the audit log"


@click.group()
def db() -> None:
    """Bring the dead-letter table up to date, or look at its version."""


@db.command()
def upgrade() -> None:
    """Create the dead-letter table, or bring it up to date.

    Running it again changes nothing; of two that run at once, one waits.
    """
    url = database_url(settings())
    with explained():
        version = upgrade_schema(url)
    say(f"the dead-letter table is at version {version}")


@db.command()
@click.argument("version")
@click.option("--yes", is_flag=True, help="Don't ask.")
def downgrade(version: str, *, yes: bool) -> None:
    """Take the dead-letter table back to VERSION, for an older release; run it with the newer one.

    What only later versions keep is dropped, and nothing else; with `base` that is every table and all that is in
    them. docs/upgrading.md says how to go back a release.
    """
    url = database_url(settings())
    if not yes:
        click.confirm(f"drop {_EVERYTHING if version == BASE else f'what is newer than {version}'}?", abort=True)
    with explained():
        try:
            downgrade_schema(url, version)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="VERSION") from None
    say("every table is dropped" if version == BASE else f"the dead-letter table is at version {version}")


@db.command()
def current() -> None:
    """Print the version of the table, and the version that this release needs."""
    with opened(checked=False) as engine:
        say(f"{current_revision(engine) or 'none'} (this release needs {head_revision()})")


@db.command()
def check() -> None:
    """Exit with status 0 if the table is the one that this release knows, else say what to do and exit with 1."""
    with opened():
        say("the dead-letter table is up to date")
