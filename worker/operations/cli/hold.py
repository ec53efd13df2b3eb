"""``aquilax-feedback hold`` and ``resume``: stop and start delivery by hand, for all workers."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import click
import redis

from worker.accounting.continuity import record
from worker.database.audit_log import record_action
from worker.database.errors import DeadLetterError
from worker.database.schema import check_schema
from worker.dead_letters.store import DeadLetterStore
from worker.delivery.hold import Hold
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import settings
from worker.operations.cli.dead_letters.confirmation import actor_option
from worker.operations.cli.output import say, shown
from worker.operations.cli.param_types import ANY_TEXT, WORDS
from worker.operations.hold_advice import fix_of, what_resume_does

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["hold", "resume"]


@click.command()
@click.option("--comment", required=True, type=WORDS, help="The reason; it is kept in the audit log.")
@actor_option
def hold(comment: str, actor: str) -> None:
    """Hand no more feedback out to any worker, until `aquilax-feedback resume`.

    What is being sent is finished; everything else stays in the queue, and backends go on enqueueing.
    """
    with _hold() as held:
        held.hold(comment, by=actor)
        state = held.state()
    _write_down("hold", actor=actor, comment=comment)
    say("held: nothing is sent to AquilaX until `aquilax-feedback resume`")
    if state is not None and state.beneath is not None:
        say(f"a hold had begun by itself, and goes on when you resume: {shown(state.beneath.reason)}")


@click.command()
@actor_option
@click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
def resume(actor: str, comment: str) -> None:
    """End the hold by hand; or, where there is none, the one that has begun by itself.

    A hold that has begun by itself beneath one by hand goes on, with a probe at once; another resume ends it too. If
    its cause is still there, the workers find out again, and hold again.
    """
    with _hold() as held:
        state = held.state()
        held.resume()
    if state is None:
        say("there is no hold")
        return
    _write_down("resume", actor=actor, comment=comment)
    say(f"resumed; it was held: {shown(state.reason)}")
    if (automatic := state.automatic) is not None:
        say(f"{shown(what_resume_does(state))} To end its cause: {fix_of(automatic.kind)}.")


def _write_down(action: str, *, actor: str, comment: str) -> None:
    """Write into the database who did it, and the hold itself. It is done all the same if that is away."""
    url = settings().feedback_database_url.get_secret_value()
    try:
        with closing(DeadLetterStore.connect(url, pool_size=1)) as store:
            check_schema(store.engine)
            record_action(store.engine, actor=actor, action=action, target="queue", comment=comment)
            with suppress(redis.RedisError), broker() as client:
                record(client, store.engine)
    except DeadLetterError as error:
        say(f"it is done, but not written down who did it: {error}", err=True)


@contextmanager
def _hold() -> Iterator[Hold]:
    try:
        with broker() as client:
            yield Hold(client, by="")
    except redis.RedisError as error:
        say(f"Error: {broker_outage(error)}", err=True)
        sys.exit(1)
