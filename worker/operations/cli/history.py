"""``aquilax-feedback history``: how it went within the last hour, day or week."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import redis

from worker.accounting.history.fields import EventField, PeakField
from worker.accounting.history.reading import HistoryRange, read_history
from worker.operations.cli.broker import broker, broker_outage
from worker.operations.cli.dead_letters.tables import print_lines
from worker.operations.cli.output import json_text, say
from worker.operations.history import failures_in, latency_text, percent, read_until, warnings_of
from worker.operations.text import utc

if TYPE_CHECKING:
    from worker.accounting.history.reading import HistoryBucket

__all__ = ["history"]


@click.command()
@click.option(
    "--range",
    "shown",
    type=click.Choice([each.value for each in HistoryRange]),
    default=HistoryRange.HOUR.value,
    show_default=True,
    help="By the minute, the quarter of an hour, or the hour.",
)
@click.option("--until", default="", metavar="TIME", help="Where it ends: 2026-01-31T12:00:00, or 2h for so long ago.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def history(shown: str, until: str, *, as_json: bool) -> None:
    """Say how the last hour, day or week went: events, AquilaX' responses and latency, and the queue."""
    try:
        end = read_until(until, now=datetime.now(UTC))
    except ValueError as error:
        raise click.UsageError(f"--{error}") from None
    with broker() as partitions:
        try:
            found = read_history(partitions.home, HistoryRange(shown), until=end)
        except redis.RedisError as error:
            raise click.ClickException(broker_outage(error)) from None
    if as_json:
        say(json_text(found.to_record()))
        return
    lines = [_line(bucket) for bucket in found.buckets if bucket.counts]
    if not lines:
        since = "no history yet" if found.since is None else f"nothing; recorded since {utc(found.since)}"
        say(f"{since}: workers record what they deliver")
    print_lines(lines, narrow=tuple(lines[0]) if lines else ())
    for warning in warnings_of(found) if end is None else ():
        say(warning, err=True)


def _line(bucket: HistoryBucket) -> dict[str, str]:
    failed = percent(bucket.failures, bucket.responses)
    return {
        "from (UTC)": f"{bucket.at:%Y-%m-%d %H:%M}",
        "accepted": str(bucket.sum(EventField.ACCEPTED)),
        "delivered": str(bucket.sum(EventField.DELIVERED)),
        "retried": str(bucket.sum(EventField.RETRIED)),
        "dead": str(bucket.dead),
        "p50": latency_text(bucket.latency(0.5)),
        "p95": latency_text(bucket.latency(0.95)),
        "p99": latency_text(bucket.latency(0.99)),
        "queued": _or_dash(bucket.peak(PeakField.QUEUED)),
        "oldest (s)": _or_dash(bucket.peak(PeakField.OLDEST)),
        "failed": f"{failed}: {failures_in(bucket)}" if bucket.failures else "0 %",
    }


def _or_dash(peak: int | None) -> str:
    return "—" if peak is None else str(peak)
