"""``aquilax-feedback hold`` and ``resume``: stop and start delivery by hand, for all workers."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import redis

from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import settings
from worker.operations.cli.output import say, shown
from worker.operations.cli.param_types import ANY_TEXT, COMMENT, actor_option
from worker.operations.database import checked_database
from worker.operations.hold import HoldControl, fix_of, what_resume_does

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.hold import HoldChange

__all__ = ["hold", "resume"]


@click.command()
@click.option("--comment", required=True, type=COMMENT, help="The reason; it is kept in the audit log.")
@actor_option
def hold(comment: str, actor: str) -> None:
    """Hand no more feedback out to any worker, until `aquilax-feedback resume`.

    What is being sent is finished; everything else stays in the queue, and backends go on enqueueing.
    """
    with _control(actor) as control:
        change = control.hold(comment)
    _tell_unrecorded(change)
    say("held: nothing is sent to AquilaX until `aquilax-feedback resume`")
    if change.state is not None and change.state.beneath is not None:
        say(f"a hold had begun by itself, and goes on when you resume: {shown(change.state.beneath.comment)}")


@click.command()
@actor_option
@click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
def resume(actor: str, comment: str) -> None:
    """End the hold by hand; or, where there is none, the one that has begun by itself.

    A hold that has begun by itself beneath one by hand goes on, with a probe at once; another resume ends it too. If
    its cause is still there, the workers find out again, and hold again.
    """
    with _control(actor) as control:
        change = control.resume(comment)
    if change is None or change.state is None:
        say("there is no hold")
        return
    _tell_unrecorded(change)
    say(f"resumed; it was held: {shown(change.state.comment)}")
    if (automatic := change.state.automatic) is not None:
        say(f"{shown(what_resume_does(change.state))} To end its cause: {fix_of(automatic.kind)}.")


def _tell_unrecorded(change: HoldChange) -> None:
    if change.unrecorded is not None:
        say(f"it is done, but not written down who did it: {change.unrecorded}", err=True)


@contextmanager
def _control(actor: str) -> Iterator[HoldControl]:
    try:
        with broker() as partitions:
            yield HoldControl(partitions=partitions, database=lambda: checked_database(settings()), actor=actor)
    except redis.RedisError as error:
        say(f"Error: {broker_outage(error)}", err=True)
        sys.exit(1)
