"""``aquilax-feedback hold`` and ``resume``: stop and start delivery by hand, for all workers."""

from __future__ import annotations

import getpass
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import redis

from worker.cli.broker import broker, broker_outage
from worker.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hold", "resume"]


@click.command()
@click.option("--reason", required=True, help="Why, for whoever looks next.")
@click.option("--by", default=getpass.getuser, show_default="your login", help="Who says so.")
def hold(reason: str, by: str) -> None:
    """Hand no more feedback out to any worker, until `aquilax-feedback resume`.

    What is being sent is finished; everything else stays in the queue, and backends go on enqueueing.
    """
    if not reason.strip():
        raise click.BadParameter("expected a few words", param_hint="'--reason'")
    with _hold() as held:
        held.hold(reason.strip(), by=by)
    click.echo("held: nothing is sent to AquilaX until `aquilax-feedback resume`")


@click.command()
def resume() -> None:
    """Hand feedback out again, whoever or whatever held it.

    If the cause is still there the workers find out again, and hold again.
    """
    with _hold() as held:
        state = held.state()
        held.resume()
    click.echo("there is no hold" if state is None else f"resumed; it was held: {state.reason}")


@contextmanager
def _hold() -> Iterator[Hold]:
    try:
        with broker() as client:
            yield Hold(client, by="")
    except redis.RedisError as error:
        click.echo(f"Error: {broker_outage(error)}", err=True)
        sys.exit(1)
