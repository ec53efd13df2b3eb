"""``aquilax-feedback workers``: what each worker is, holds and consumes; and telling one what to do."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import click
import redis
from kombu.exceptions import OperationalError

from worker.app import create_app
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import settings
from worker.operations.cli.dead_letters.tables import print_lines
from worker.operations.cli.output import json_text, say, shown
from worker.operations.cli.param_types import COMMENT, TEXT, WholeNumber, actor_option
from worker.operations.database import checked_database
from worker.operations.doctor.fleet import ask_fleet
from worker.operations.workers.control import NoReply, WorkerAction, WorkerControl
from worker.operations.workers.view import leases_of, view_of_workers
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.workers.view import WorkerView

__all__ = ["workers"]

_NARROW: Final = ("worker", "state", "release", "holds", "places", "lease")

_MOST_PLACES: Final = 1000

_HELP: Final = {
    WorkerAction.QUIET: "Let a worker take no more feedback; what it has in flight it ends.",
    WorkerAction.CONSUME: "Let a worker take feedback again, that was quiet or started with other queues.",
    WorkerAction.STOP: "Let a worker end in order: what it has in flight it ends, or returns to the queue.",
    WorkerAction.GROW: "Let a worker deliver more at once, until it is restarted.",
    WorkerAction.SHRINK: "Let a worker deliver fewer at once, until it is restarted.",
}


@click.group()
def workers() -> None:
    """Look at each worker, and quiet, stop, grow or shrink one of them."""


@workers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def list_(*, as_json: bool) -> None:
    """List the workers, those with something wrong first; it takes two seconds, or six if one does not answer.

    The exit status is 1 if something is wrong with one of them.
    """
    with _reachable():
        with broker() as partitions:
            held = leases_of(partitions)
        found = view_of_workers(held, ask_fleet(create_app(settings()), held.alive))
    if as_json:
        record = {"workers": [one.to_record() for one in found], "unavailable_partitions": list(held.unavailable)}
        say(json_text(record, indent=2))
    else:
        print_lines([_line(one) for one in found], narrow=_NARROW)
        for one in found:
            _tell_more(one)
        if not found:
            say("no worker has a lease, and none answers: start one (`celery -A worker worker`)", err=True)
    sys.exit(1 if held.unavailable or not found or any(one.problem for one in found) else 0)


def _line(worker: WorkerView) -> dict[str, str]:
    return {
        "worker": shown(worker.name),
        "state": _state(worker),
        "release": shown(worker.version),
        "holds": str(worker.holds),
        "places": "" if worker.places is None else f"{worker.busy} of {worker.places}",
        "lease": "" if worker.lease_left is None else span(worker.lease_left),
        "up": "" if worker.uptime is None else span(worker.uptime),
        "process": shown(worker.process),
    }


def _state(worker: WorkerView) -> str:
    if not worker.is_alive:
        return "dead"
    return "silent" if not worker.answers else "quiet" if worker.is_quiet else "consuming"


def _tell_more(worker: WorkerView) -> None:
    name = shown(worker.name)
    if worker.problem:
        say(f"{name}: {worker.problem}")
    if worker.is_other_version:
        say(f"{name}: most workers are of another release")
    for each in worker.differences:
        say(f"{name}: {each.setting} is {shown(each.value)}, and with most workers {shown(each.most)}")
    if worker.away:
        say(f"{name}: it does not consume partitions {', '.join(f'{number:02d}' for number in worker.away)}")


def _tell(action: WorkerAction, *, name: str, comment: str, actor: str, by: int = 1) -> None:
    control = WorkerControl(app=create_app(settings()), database=partial(checked_database, settings()), actor=actor)
    with _reachable():
        try:
            told = control.tell(name, action, comment=comment, by=by)
        except NoReply as error:
            raise click.ClickException(str(error)) from None
    say(shown(f"{name}: {told.reply}"))
    if told.unrecorded is not None:
        say("it is done, but the audit log does not have it: the database is unavailable", err=True)
        sys.exit(1)


def _command(action: WorkerAction) -> click.Command:
    def command(**options: object) -> None:
        _tell(action, **options)  # type: ignore[arg-type]  # click has read each as its type

    for option in (
        click.option("--comment", required=True, type=COMMENT, help="The reason; it is kept in the audit log."),
        actor_option,
        *(
            [click.option("--by", type=WholeNumber(1, _MOST_PLACES), default=1, show_default=True, help="How many.")]
            if action.takes_number
            else []
        ),
        click.argument("name", metavar="WORKER", type=TEXT),
    ):
        command = option(command)
    return click.command(action.value, help=_HELP[action])(command)


for _action in WorkerAction:
    workers.add_command(_command(_action))


@contextmanager
def _reachable() -> Iterator[None]:
    """End the command where Redis is unavailable."""
    try:
        yield
    except redis.RedisError as error:
        say(f"Error: {broker_outage(error)}", err=True)
        sys.exit(1)
    except OperationalError as error:
        say(f"Error: {broker_outage(redis.ConnectionError(str(error)))}", err=True)
        sys.exit(1)
