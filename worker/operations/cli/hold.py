"""``aquilax-feedback hold`` and ``resume``: stop and start delivery by hand, for all workers."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import redis

from worker.delivery.org_holds import key_scope, org_scope
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import settings
from worker.operations.cli.output import say, shown
from worker.operations.cli.param_types import ANY_TEXT, COMMENT, TEXT, actor_option
from worker.operations.database import checked_database
from worker.operations.hold import HoldControl, fix_of, fix_of_org, what_resume_does

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.hold import HoldChange, OrgHoldChange

__all__ = ["hold", "resume"]


@click.command()
@click.option("--comment", required=True, type=COMMENT, help="The reason; it is kept in the audit log.")
@click.option("--org", type=TEXT, help="Hold this org alone, within a second; the others go on.")
@actor_option
def hold(comment: str, org: str | None, actor: str) -> None:
    """Hand no more feedback out to any worker, until `aquilax-feedback resume`.

    What is being sent is finished; everything else stays in the queue, and backends go on enqueueing.
    """
    with _control(actor) as control:
        if org is not None:
            _tell_unrecorded(control.hold_org(org, comment))
            say(f"held: nothing of the org {shown(org)} is sent until `aquilax-feedback resume --org {shown(org)}`")
            return
        change = control.hold(comment)
    _tell_unrecorded(change)
    say("held: nothing is sent to AquilaX until `aquilax-feedback resume`")
    if change.state is not None and change.state.beneath is not None:
        say(f"a hold had begun by itself, and goes on when you resume: {shown(change.state.beneath.comment)}")


@click.command()
@actor_option
@click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
@click.option("--org", type=TEXT, help="End the hold of this org.")
@click.option("--key", type=TEXT, help="End the hold of the orgs of this key of AQUILAX_KEYS_FILE, or of `default`.")
def resume(actor: str, comment: str, org: str | None, key: str | None) -> None:
    """End the hold by hand; or, where there is none, the one that has begun by itself.

    A hold that has begun by itself beneath one by hand goes on, with a probe at once; another resume ends it too. If
    its cause is still there, the workers find out again, and hold again.
    """
    if org is not None and key is not None:
        raise click.UsageError("--org and --key: give one of them")
    with _control(actor) as control:
        if org is not None or key is not None:
            _resume_scope(control, org_scope(org) if org is not None else key_scope(str(key)), comment)
            return
        change = control.resume(comment)
    if change is None or change.state is None:
        say("there is no hold")
        return
    _tell_unrecorded(change)
    say(f"resumed; it was held: {shown(change.state.comment)}")
    if (automatic := change.state.automatic) is not None:
        say(f"{shown(what_resume_does(change.state))} To end its cause: {fix_of(automatic.kind)}.")


def _resume_scope(control: HoldControl, scope: str, comment: str) -> None:
    change = control.resume_scope(scope, comment)
    if change is None:
        say(f"there is no hold of {shown(scope)}")
        return
    _tell_unrecorded(change)
    say(f"resumed {shown(change.hold.shown)}; it was held: {shown(change.hold.state.comment)}")
    if not change.hold.state.by_hand:
        say(f"If the cause is still there, workers find out and hold again. To end it: {fix_of_org(change.hold)}.")


def _tell_unrecorded(change: HoldChange | OrgHoldChange) -> None:
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
