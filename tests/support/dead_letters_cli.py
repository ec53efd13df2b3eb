"""The command line of dead letters, run in this process or on a terminal, and what it leaves behind."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from tests.support.dead_letter_records import a_record, add, rows_of
from worker.dead_letters.replays.queue import LIST
from worker.operations.cli import main

if TYPE_CHECKING:
    import redis

    from worker.database.models import State
    from worker.dead_letters.store import DeadLetterStore

__all__ = ["PROGRAM", "add_rows", "queued", "say", "states_of"]


PROGRAM = [sys.executable, "-m", "worker.operations.cli", "dead-letters"]


def say(*arguments: object) -> Result:
    """Run a command in this process, without a terminal to ask on."""
    return CliRunner().invoke(main, ["dead-letters", *map(str, arguments)])


def add_rows(table: DeadLetterStore, number: int, **changes: Any) -> list[int]:
    """Add so many dead letters, and return their ids."""
    return [add(table, a_record(**changes)) for _ in range(number)]


def queued(queue: redis.Redis) -> list[int]:
    """The dead letters whose events are in the queue, in the order in which a worker takes them."""
    messages = map(json.loads, reversed(queue.lrange(LIST, 0, -1)))
    return [message["headers"]["feedback"]["dead_letter"] for message in messages]


def states_of(table: DeadLetterStore) -> list[State]:
    """The state of every row."""
    return [row.state for row in rows_of(table)]
