"""``aquilax-feedback relay``: carry what backends have written into their outbox to Redis."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from sqlalchemy import exc

from producer import ProducerError, outbox
from worker.database.errors import DatabaseUnusable
from worker.operations.cli.database import settings
from worker.operations.cli.output import json_text, say
from worker.operations.cli.process import log_as_a_worker, stop_signals, until_stopped
from worker.operations.relay import open_outbox, opened_relay, outbox_outage, outbox_status, served_metrics
from worker.policy.durations import span
from worker.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

__all__ = ["relay"]


@click.command()
@click.option("--once", is_flag=True, help="Carry what is there, and end.")
@click.option("--status", "shows_status", is_flag=True, help="Say what is in the outbox, and carry nothing.")
@click.option("--create-table", "creates", is_flag=True, help="Create the table, and carry nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object; with --status.")
def relay(*, once: bool, shows_status: bool, creates: bool, as_json: bool) -> None:
    """Carry what is committed in a backend's outbox to Redis, until SIGTERM or Ctrl-C.

    The outbox is the table feedback_outbox in the database of FEEDBACK_OUTBOX_URL; Redis is that of
    FEEDBACK_BROKER_URL. Several relays may run at once. While Redis or the database is unavailable the rows stay, and
    the relay waits.

    The exit status is 1 if there is no table, and with --once also if Redis or the database is unavailable, or a row
    was set aside because it is no valid event; its column `problem` says why.
    """
    if once + shows_status + creates > 1 or (as_json and not shows_status):
        raise click.UsageError("--once, --status and --create-table exclude each other, and --json goes with --status")
    with _explained(), open_outbox(settings()) as engine:
        if creates:
            outbox.create_table(engine)
            say(f"the table {outbox.TABLE} is there")
        elif shows_status:
            _say_status(outbox_status(engine), as_json=as_json)
        else:
            _carry(engine, once=once)


def _carry(engine: Engine, *, once: bool) -> None:
    log_as_a_worker(settings())
    with opened_relay(settings(), engine) as carrier:
        if once:
            say(f"relayed {carrier.run_once()}, set aside {carrier.set_aside}")
            sys.exit(1 if carrier.set_aside else 0)
        with stop_signals(), served_metrics(settings(), carrier, engine), carrier:
            until_stopped()


def _say_status(found: outbox.OutboxStatus, *, as_json: bool) -> None:
    if as_json:
        oldest = found.oldest_at and found.oldest_at.isoformat()
        say(json_text({"waiting": found.waiting, "set_aside": found.set_aside, "oldest_at": oldest}, indent=2))
        return
    age = f", the oldest written {span(datetime.now(UTC) - found.oldest_at)} ago" if found.oldest_at else ""
    say(f"{found.waiting:,} waiting{age}")
    say(f"{found.set_aside:,} set aside" + ("; their column `problem` says why" if found.set_aside else ""))


@contextmanager
def _explained() -> Iterator[None]:
    """End the command where it can't go on: status 2 if a setting is wrong, else 1."""
    try:
        yield
    except (SettingsError, DatabaseUnusable) as error:
        raise click.UsageError(str(error)) from None
    except outbox.OutboxTableError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:  # of the file by which relays on SQLite exclude each other
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    except (ProducerError, exc.SQLAlchemyError) as error:
        raise click.ClickException(outbox_outage(settings(), error)) from None
