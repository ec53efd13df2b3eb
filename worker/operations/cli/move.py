"""``aquilax-feedback move``: bring everything over from another Redis."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Final

import click
import redis

from producer.broker_url import BrokerUrl
from worker.accounting.relocation import MoveRefused
from worker.accounting.relocation import move as bring_over
from worker.clients.redis.connections import recorded_partitions, redis_partitions
from worker.clients.redis.partition_record import PartitionMismatch
from worker.operations.broker import broker_record
from worker.operations.cli.broker import broker
from worker.operations.cli.database import settings
from worker.operations.cli.output import say

__all__ = ["move"]

_PATIENCE: Final = 5.0
"""Seconds to wait for each answer of Redis."""


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
    old one. Either may be a cluster, and they may have different numbers of partitions. If it is cut short, run it
    again. Both Redises add up at any time: `aquilax-feedback reconcile`.
    """
    url = sys.stdin.readline().strip() if old == "-" else old
    try:
        shown = BrokerUrl.read(url, sentinel_master).shown
        old_record = recorded_partitions(url, sentinel_master=sentinel_master)
    except ValueError as error:
        raise click.UsageError(f"--from: {error}") from None
    new_record = broker_record(settings(), patience=_PATIENCE)
    with closing(old_record), closing(new_record), broker() as target:
        try:
            number = old_record.number()
            client = redis_partitions(url, sentinel_master=sentinel_master, partitions=number, connections=2)
            with closing(client) as source:
                new_record.check()
                for text in bring_over(source, target):
                    say(text)
                old_record.forget()
        except (MoveRefused, PartitionMismatch) as error:
            raise click.ClickException(str(error)) from None
        except redis.RedisError as error:
            text = f"stopped: {shown} or FEEDBACK_BROKER_URL: {error}; run it again, it goes on where it was"
            raise click.ClickException(text) from None
    say(f"{shown} has no feedback any more; `aquilax-feedback reconcile` shows that it adds up here")
