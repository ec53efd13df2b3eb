"""Feedback in lists that no worker reads: which setting of a client put it there.

A client with other priorities, another separator, a prefix or another queue enqueues without an error, into a list of
its own. All lists of the Redis are looked at for it, at their ends only, and for a limited time: a Redis that is shared
with others may have many keys.

Every function here takes a client that answers in bytes, and raises `redis.RedisError` if Redis is unavailable or
refuses.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from producer.message import QUEUE, TASK
from worker.broker.keys import KEYS, broker_keys
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.keys import FeedbackKeys, prefix_of
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    import redis

__all__ = ["Stray", "Strays", "find_strays", "move_home"]

_MOVE: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "move"))

_AT_ONCE: Final = 1000
"""Keys that one SCAN looks at, a fraction of a millisecond of Redis' time."""

_LOOKED_AT: Final = 3
"""Entries at each end of a list."""

_SEPARATED: Final = re.compile(re.escape(QUEUE) + r"(\D+)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A list that holds feedback, and that no worker reads.

    Attributes:
        key: Its name.
        entries: How many entries it has.
        prefix: What stands before each key of the queue.
    """

    key: bytes
    entries: int
    prefix: str = ""

    @property
    def name(self) -> str:
        """Its name as text."""
        return self.key.decode(errors="backslashreplace")

    @property
    def is_parcel(self) -> bool:
        """Whether it is being moved to another Redis: it may be there already, so it is no stray to be moved."""
        return self.name == FeedbackKeys(self.prefix).moving

    @property
    def setting(self) -> str:
        """The setting of the client that put them there."""
        if self.is_parcel:
            return "none: `aquilax-feedback move` was cut short: run it again"
        before, _, behind = self.name.rpartition(QUEUE)
        made = _SEPARATED.fullmatch(QUEUE + behind)
        if QUEUE not in self.name or (behind and not made):
            return f"another queue: it must be {QUEUE!r} (`queue=`, `task_default_queue` or `task_routes`)"
        if before != self.prefix:
            return f"`global_keyprefix` {before!r}: leave it out"
        if made and made[1] != KEYS.sep:
            return f"`sep` {made[1]!r}: leave it out"
        return f"`priority_steps`: leave them out, which gives {', '.join(map(str, KEYS.steps))}"

    @property
    def summary(self) -> str:
        """What is wrong, as text."""
        return f"{self.entries:,} in the list {self.name!r}; the client's setting: {self.setting}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Strays:
    """What was found.

    Attributes:
        lists: The lists, by their names.
        complete: Whether there was time for all keys.
    """

    lists: tuple[Stray, ...] = ()
    complete: bool = True

    @property
    def entries(self) -> int:
        """How many entries there are in all."""
        return sum(stray.entries for stray in self.lists)


def find_strays(client: redis.Redis, *, within: float) -> Strays:
    """Look for feedback that no worker will find; after ``within`` seconds it is left at what was found."""
    ours: set[bytes] = {name.encode() for name in broker_keys(client).lists(QUEUE)}
    deadline, cursor, found = time.monotonic() + within, 0, {}
    while True:
        cursor, keys = client.scan(cursor, count=_AT_ONCE, _type="list")
        for key, entries in _with_feedback(client, [key for key in cast("list[bytes]", keys) if key not in ours]):
            found[key] = Stray(key=key, entries=entries, prefix=prefix_of(client))
        if not cursor or time.monotonic() >= deadline:
            break
    return Strays(lists=tuple(found[key] for key in sorted(found)), complete=not cursor)


def move_home(client: redis.Redis, stray: Stray) -> int:
    """Move the feedback of a list to the queue, and return how many messages that were; what else is there stays.

    Cut short, it leaves each message in one of the two.
    """
    keys, moved, passed = broker_keys(client), 0, 0
    while entries := cast("list[bytes]", client.lrange(stray.key, -passed - _MOVED_AT_ONCE, -passed - 1)):
        if feedback := [entry for entry in reversed(entries) if _is_feedback(entry)]:
            arguments = [QUEUE, keys.steps_text, 1, QUEUE, *feedback]
            moved += int(_MOVE(client, [stray.key, *keys.lists(QUEUE)], arguments))
        passed += len(entries) - len(feedback)
    return moved


_MOVED_AT_ONCE: Final = 200


def _with_feedback(client: redis.Redis, keys: list[bytes]) -> list[tuple[bytes, int]]:
    """Those of some lists that hold feedback, and how many entries."""
    if not keys:
        return []
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.llen(key)
            pipe.lrange(key, 0, _LOOKED_AT - 1)
            pipe.lrange(key, -_LOOKED_AT, -1)
        answers: list[Any] = pipe.execute(raise_on_error=False)
    return [
        (key, length)
        for key, length, first, last in zip(keys, answers[::3], answers[1::3], answers[2::3], strict=True)
        if isinstance(first, list) and isinstance(last, list) and any(map(_is_feedback, [*first, *last]))
    ]


def _is_feedback(entry: bytes) -> bool:
    """Whether an entry is a message of our task, by Celery's protocol 2 or 1."""
    try:
        message = json.loads(entry)
        headers = message["headers"]
        if "task" in headers:
            return bool(headers["task"] == TASK)
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = b64decode(body)
        return bool(json.loads(body)["task"] == TASK)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
