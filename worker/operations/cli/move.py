"""``aquilax-feedback move``: bring everything over from another Redis."""

from __future__ import annotations

import sys
from contextlib import closing

import click
import redis

from producer.broker_url import BrokerUrl
from worker.accounting.relocation import MoveRefused
from worker.accounting.relocation import move as bring_over
from worker.clients.redis.connections import redis_client
from worker.operations.cli.broker import broker
from worker.operations.cli.output import say

__all__ = ["move"]


@click.command()
@click.option(
    "--from",
    "old",
    required=True,
    metavar="URL",
    help="The old Redis; - reads its URL from standard input, where no other process sees a password.",
)
@click.option("--sentinel-master", help="The old master's name, if the URL names its sentinels.")
def move(old: str, sentinel_master: str | None) -> None:
    """Move all feedback from an old Redis to the one of FEEDBACK_BROKER_URL.

    What waits and what is scheduled, the counts, what was delivered (so that nothing is sent twice), the notes of
    replays, revocations, and a hold by hand. Let backends enqueue into the new Redis first, and stop the workers of the
    old one. If it is cut short, run it again. Both Redises add up at any time: `aquilax-feedback reconcile`.
    """
    url = sys.stdin.readline().strip() if old == "-" else old
    try:
        shown = BrokerUrl.read(url, sentinel_master).shown
        client = redis_client(url, sentinel_master=sentinel_master, connections=2)
    except ValueError as error:
        raise click.UsageError(f"--from: {error}") from None
    with closing(client) as source, broker() as target:
        try:
            for text in bring_over(source, target):
                say(text)
        except MoveRefused as error:
            raise click.ClickException(str(error)) from None
        except redis.RedisError as error:
            text = f"stopped: {shown} or FEEDBACK_BROKER_URL: {error}; run it again, it goes on where it was"
            raise click.ClickException(text) from None
    say(f"{shown} has no feedback any more; `aquilax-feedback reconcile` shows that it adds up here")
