"""``aquilax-feedback dead-letters replay``: makes a plan, and follows it to its end by doing its steps."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import redis

from producer.errors import InvalidEvent
from worker.database.errors import DeadLetterStoreUnavailable
from worker.dead_letters.replays.advancer import Advancer
from worker.dead_letters.replays.attendance import START_A_REPLAY_WORKER
from worker.dead_letters.replays.edits import Edit
from worker.dead_letters.replays.errors import NothingToReplay
from worker.dead_letters.replays.planning import FASTEST, SLOWEST, create, preview
from worker.dead_letters.replays.queries import find
from worker.dead_letters.replays.queue import REPLAYS
from worker.dead_letters.replays.step import NextStep
from worker.operations.cli.broker import broker_outage
from worker.operations.cli.database import outage, settings
from worker.operations.cli.dead_letters.filters import (
    confirm,
    opened_for,
    row_id,
    selecting,
    tell_passed_over,
    time_to_come,
)
from worker.operations.cli.dead_letters.progress import counting, stopping
from worker.operations.cli.dead_letters.tables import print_causes
from worker.operations.cli.output import INTERRUPTED, json_text, say
from worker.operations.cli.param_types import ANY_TEXT, TEXT, Decimal, WholeNumber, actor_option
from worker.operations.cli.replays.summaries import Aftermath, outcome
from worker.operations.text import utc
from worker.policy.durations import span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from sqlalchemy import Engine

    from worker.dead_letters.replays.planning import Preview, PreviewCount
    from worker.dead_letters.replays.queries import Plan
    from worker.dead_letters.selection import Selection

__all__ = ["Followed", "follow", "replay"]

_LARGEST_CANARY: Final = 2**31 - 1
"""What an INTEGER holds."""

_LOOK_EVERY: Final = timedelta(seconds=0.5)


@click.command()
@click.argument("ids", metavar="[ID]...", type=row_id, nargs=-1)
@selecting
@click.option("--rate", type=Decimal(SLOWEST, FASTEST), help="Events per second at most.")
@click.option(
    "--canary",
    type=WholeNumber(0, _LARGEST_CANARY),
    default=0,
    metavar="N",
    help="Let N rows go first, and the rest only when these are delivered; if one dies again, stop.",
)
@click.option("--limit", type=WholeNumber(min=1), help="Rows at most; the oldest first.")
@click.option(
    "--at",
    "begins_at",
    type=time_to_come,
    metavar="TIME",
    help="When it begins: in 30m, 2h or 7d, or at a time in ISO 8601 (UTC). Workers begin it; nothing is waited for.",
)
@click.option("--set-org", type=TEXT, help="Send them for this organization; the rows keep what they died with.")
@click.option("--set-group", type=TEXT, help="Send them for this group, likewise.")
@click.option("--comment", default="", type=ANY_TEXT, help="The reason; it is kept in the audit log.")
@actor_option
@click.option("--dry-run", is_flag=True, help="Say what would be replayed, and change nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--wait/--no-wait", default=True, help="Follow it to its end, or leave it to the workers.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def replay(
    *,
    selection: Selection,
    set_org: str | None,
    set_group: str | None,
    dry_run: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
    **making: Any,
) -> None:
    """Put dead letters back into the queue: those of the IDs, or those that fit the filters.

    The rows are chosen now, as a plan with a number; `aquilax-feedback replays` looks at it, pauses, resumes and
    cancels it. Workers advance the plan, and write each row's outcome into it. Ctrl-C, or kill -9, ends this command
    and not the plan: no row is missed, and none is enqueued twice. The rows taken are the dead ones. With --state
    replaying it also takes rows whose outcome has not come, for when Redis has lost its queue.
    """
    edit = making["edit"] = _edit(set_org, set_group)
    with opened_for(selection) as engine:
        planned = preview(engine, selection, rate=making["rate"], limit=making["limit"], edit=edit)
        complete = _is_complete(engine, selection, planned)
        if dry_run:
            _tell_preview(planned, as_json=as_json)
            sys.exit(0 if complete else 1)
        for line in () if as_json else _edits(planned):
            say(line, err=True)
        confirm("replay", planned.rows, selection, yes=yes)
        try:
            plan = create(engine, selection, **making)
        except NothingToReplay:
            _tell_nothing(planned, as_json=as_json)
            sys.exit(0 if complete else 1)
        with closing(_advancer()) as advancer:
            if not wait or plan.is_scheduled:
                _tell(Followed(plan=plan, alone=_is_unwatched(advancer)), planned, None, as_json=as_json)
                sys.exit(0 if complete else 1)
            followed = _followed(engine, advancer, plan)
            aftermath = None if followed.failure else Aftermath.of(engine, followed.plan)
    _tell(followed, planned, aftermath, as_json=as_json)
    sys.exit(_status(followed, complete=complete))


def _edit(org: str | None, group: str | None) -> Edit:
    try:
        return Edit(org=org, group=group)
    except InvalidEvent as error:
        raise click.BadParameter(str(error), param_hint=f"--set-{error.field}") from None


def _is_complete(engine: Engine, selection: Selection, planned: Preview) -> bool:
    """Whether the plan has every row that was named by its id; what it has not is told."""
    return tell_passed_over(engine, selection) and not (selection.ids and (planned.invalid or planned.elsewhere))


def _followed(engine: Engine, advancer: Advancer, plan: Plan) -> Followed:
    with stopping() as stop, counting("replaying", plan.total) as progress:
        return follow(engine, advancer, plan, stop=stop, progress=progress)


def _advancer() -> Advancer:
    given = settings()
    return Advancer.connect(
        given.feedback_database_url.get_secret_value(),
        given.feedback_broker_url.get_secret_value(),
        sentinel_master=given.feedback_sentinel_master,
        partitions=given.feedback_partitions,
        lease=given.feedback_lease,
    )


def _is_unwatched(advancer: Advancer) -> bool:
    try:
        return not advancer.workers_watch()
    except redis.RedisError:
        return True


def _tell_preview(planned: Preview, *, as_json: bool) -> None:
    if as_json:
        seconds = None if planned.duration is None else planned.duration.total_seconds()
        found = {"would_replay": planned.rows, "invalid": planned.invalid, "elsewhere": planned.elsewhere}
        edited = {"edited": [each.to_record() for each in planned.edited]}
        by = {"by_cause": planned.by_cause, "by_org": planned.by_org}
        counts = {name: [_record(count) for count in every] for name, every in by.items()}
        say(json_text(found | {"seconds": seconds} | edited | counts))
        return
    print_causes((count.name, count.summary, count) for count in planned.by_cause)
    takes = "" if planned.duration is None else f", which takes {span(planned.duration)}"
    for line in _edits(planned):
        say(line)
    say(f"would replay {planned.rows:,}{takes}{_left_out(planned)}")


def _edits(planned: Preview) -> Iterator[str]:
    """What it changes in events, a line for each field."""
    for each in planned.edited:
        yield f"{each.field} becomes {each.value} in {each.rows:,} of {planned.rows:,}"


def _record(count: PreviewCount) -> dict[str, Any]:
    return {"name": count.name, "summary": count.summary, "rows": count.rows}


def _tell_nothing(planned: Preview, *, as_json: bool) -> None:
    if as_json:
        nothing = {"replay": None, "enqueued": 0, "invalid": planned.invalid, "elsewhere": planned.elsewhere}
        say(json.dumps(nothing))
    else:
        say(f"nothing to replay{_left_out(planned) or ': no dead letter fits'}")


def _tell(followed: Followed, planned: Preview, aftermath: Aftermath | None, *, as_json: bool) -> None:
    plan = followed.plan
    if as_json:
        result = {"replay": plan.to_record(), "enqueued": plan.progress.gone, "invalid": planned.invalid}
        ended = {"interrupted": followed.interrupted, "failure": followed.failure}
        left = {} if aftermath is None else aftermath.to_record()
        say(json_text(result | {"elsewhere": planned.elsewhere} | left | ended))
    else:
        say(f"replay {plan.id}: {outcome(plan)}{_left_out(planned)}")
    for note in _notes(followed, None if as_json else aftermath):
        say(note, err=True)


def _notes(followed: Followed, aftermath: Aftermath | None) -> Iterator[str]:
    plan = followed.plan
    if plan.stopped_because:
        yield f"stopped: {plan.stopped_because}"
    if aftermath is not None:
        yield from (f"{label}: {text}" for label, text in aftermath.lines())
    if followed.failure:
        yield f"not followed any more: {followed.failure}"
    if followed.alone:
        yield f"no worker consumes {REPLAYS}: {START_A_REPLAY_WORKER}"
    if plan.is_scheduled and plan.begins_at is not None:
        yield f"it begins at {utc(plan.begins_at)}"
    if plan.is_active:
        commands = f"`aquilax-feedback replays show {plan.id}`, `… pause {plan.id}`, `… cancel {plan.id}`"
        background = "it goes on in the background: nothing is lost, and nothing is sent twice"
        yield f"{background}. Look at it, or end it, with {commands}"


def _left_out(planned: Preview) -> str:
    text = ""
    if planned.invalid:
        text += f"; {planned.invalid:,} invalid left out: they hold no event, only a message that can't be read as one"
    if planned.elsewhere:
        text += f"; {planned.elsewhere:,} left out: another replay that has not ended has them"
    return text


def _status(followed: Followed, *, complete: bool) -> int:
    if followed.interrupted:
        return INTERRUPTED
    return 0 if complete and followed.plan.progress.gone == followed.plan.total else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How following a plan ended.

    Attributes:
        plan: The plan as it was last seen.
        interrupted: Whether it was asked to end.
        alone: Whether no worker runs that takes the steps which the plan waits for.
        failure: What can't be reached, as text.
    """

    plan: Plan
    interrupted: bool = False
    alone: bool = False
    failure: str | None = None


def follow(engine: Engine, advancer: Advancer, plan: Plan, *, stop: Event, progress: Callable[[int], None]) -> Followed:
    """Follow a new plan until it has ended, until it waits for a worker and none runs, or until it is stopped.

    Its steps are done here as long as this lasts: they need no worker, and begin at once.
    """
    step_number: int | None = plan.step_number
    try:
        while plan.is_active:
            step = None if step_number is None else advancer.advance(plan.id, step_number)
            step_number = (
                step.step_number if isinstance(step, NextStep) else dict(advancer.overdue(only=plan.id)).get(plan.id)
            )
            plan = find(engine, plan.id)
            progress(plan.progress.gone + plan.progress.left_out)
            waits = step.waits if isinstance(step, NextStep) else step is not None
            if plan.is_active and waits and not advancer.workers_watch():
                return Followed(plan=plan, alone=True)
            pause = min(step.after, _LOOK_EVERY) if isinstance(step, NextStep) else _LOOK_EVERY
            if plan.is_active and stop.wait(pause.total_seconds()):
                return Followed(plan=plan, interrupted=True)
    except redis.RedisError as error:
        return Followed(plan=plan, failure=broker_outage(error))
    except DeadLetterStoreUnavailable as error:
        return Followed(plan=plan, failure=outage(error))
    return Followed(plan=plan)
