"""``aquilax-feedback notify``: try who is told what needs attention, and see how they do."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click
import redis

from worker.notifications.state import NewerState
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.database import settings
from worker.operations.cli.output import json_text, say, shown
from worker.operations.cli.param_types import current_actor
from worker.operations.notifications import notifications_report, required_receivers, try_receivers
from worker.policy.durations import span
from worker.settings import SettingsError

if TYPE_CHECKING:
    from worker.operations.notifications import NotificationsReport, ReceiverReport

__all__ = ["notify"]

_NAME_COLUMN: Final = 20


@click.command()
@click.option("--test", "is_test", is_flag=True, help="Send a message to each address now, and say which took it.")
@click.option("--status", "is_status", is_flag=True, help="Say how each receiver does; as without an option.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def notify(*, is_test: bool, is_status: bool, as_json: bool) -> None:
    """Try the addresses of FEEDBACK_NOTIFY_URLS, or see how they do. No address is shown: each has a name.

    The exit status is 1 if a receiver did not take the test, or its last message.
    """
    if is_test and is_status:
        raise click.UsageError("--test and --status can't be given together")
    try:
        required_receivers(settings())
        sys.exit(_test(as_json=as_json) if is_test else _status(as_json=as_json))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def _test(*, as_json: bool) -> int:
    trials = try_receivers(settings(), actor=current_actor())
    if as_json:
        say(json_text({"receivers": [trial.to_record() for trial in trials]}, indent=2))
    else:
        for trial in trials:
            outcome = f"did not take it: {shown(trial.problem)}" if trial.problem else "took it"
            say(f"{trial.receiver:<{_NAME_COLUMN}} {outcome}")
    return int(any(trial.problem for trial in trials))


def _status(*, as_json: bool) -> int:
    now = datetime.now(UTC)
    try:
        with broker() as partitions:
            report = notifications_report(settings(), partitions.home, now=now)
    except redis.RedisError as error:
        say(f"Error: {broker_outage(error)}", err=True)
        return 1
    except NewerState as error:
        say(f"Error: {error}: use the command of that release", err=True)
        return 1
    if as_json:
        say(json_text(report.to_record(), indent=2))
    else:
        _tell(report, now)
    return int(any(receiver.health.problem for receiver in report.receivers))


def _tell(report: NotificationsReport, now: datetime) -> None:
    for receiver in report.receivers:
        say(f"{receiver.name:<{_NAME_COLUMN}} {shown(_line(receiver, now))}")
    quiet = "; it is a quiet hour" if report.quiet else ""
    say(f"{report.pending:,} events wait to be told{quiet}")
    if report.looked_at is None:
        say("no worker with FEEDBACK_NOTIFY_URLS has looked yet")
    else:
        say(f"a worker looked {span(now - report.looked_at)} ago")


def _line(receiver: ReceiverReport, now: datetime) -> str:
    health = receiver.health
    taken = "nothing yet" if health.taken_at is None else f"its last message {span(now - health.taken_at)} ago"
    parts = [f"took {taken}"]
    if health.problem:
        parts.append(f"{health.failures:,} attempts failed since: {health.problem}")
    if receiver.waiting:
        parts.append(f"{receiver.waiting:,} messages wait")
    if health.given_up:
        parts.append(f"{health.given_up:,} given up")
    return "; ".join(parts)
