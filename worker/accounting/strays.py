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
from producer.partitions import slot_of
from worker.accounting.message_identity import request_id_in
from worker.broker.keys import KEYS, broker_keys
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.keys import FeedbackKeys, feedback_keys, prefix_of
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["Stray", "Strays", "copy_to_partition", "drop_copied", "find_strays", "move_home"]

_MOVE: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "move"))
_ADOPT: Final = Script(MESSAGE + QUEUES + lua("worker.accounting", "adopt"))

_AT_ONCE: Final = 1000
"""Keys that one SCAN looks at, a fraction of a millisecond of Redis' time."""

_MOVED_AT_ONCE: Final = 200

_LOOKED_AT: Final = 3
"""Entries at each end of a list."""

_PARTITION: Final = re.compile(r"\{feedback:\d+\.\d+\}.*", re.DOTALL)
"""What begins as a partition's keys do."""

_SEPARATED: Final = re.compile(re.escape(QUEUE) + r"(\D+)(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """A list that holds feedback, and that no worker reads.

    Attributes:
        key: Its name.
        entries: How many entries it has.
        prefixes: What stands before each key of the queue, for each of its partitions.
    """

    key: bytes
    entries: int
    prefixes: tuple[str, ...] = ("",)

    @property
    def name(self) -> str:
        """Its name as text."""
        return self.key.decode(errors="backslashreplace")

    @property
    def is_parcel(self) -> bool:
        """Whether it is being moved to another Redis: it may be there already, so it is no stray to be moved."""
        return any(self.name == FeedbackKeys(prefix).moving for prefix in self.prefixes)

    @property
    def setting(self) -> str:
        """The setting of the client that put them there."""
        if self.is_parcel:
            return "none: `aquilax-feedback move` was cut short: run it again"
        before, _, behind = self.name.rpartition(QUEUE)
        if _PARTITION.fullmatch(self.name) and len(self.prefixes) > 1:
            before, behind = self.name.split("}", 1)[0] + "}", self.name.split("}", 1)[1].removeprefix(QUEUE)
        made = _SEPARATED.fullmatch(QUEUE + behind)
        if QUEUE not in self.name or (behind and not made):
            return f"another queue: it must be {QUEUE!r} (`queue=`, `task_default_queue` or `task_routes`)"
        if before not in self.prefixes:
            return self._prefix_setting(before)
        if made and made[1] != KEYS.sep:
            return f"`sep` {made[1]!r}: leave it out"
        return f"`priority_steps`: leave them out, which gives {', '.join(map(str, KEYS.steps))}"

    def _prefix_setting(self, before: str) -> str:
        number = len(self.prefixes)
        if number == 1:
            return f"`global_keyprefix` {before!r}: leave it out"
        if before and not _PARTITION.fullmatch(before):
            return f"`global_keyprefix` {before!r}: leave it out, and use a producer of ours, or the gateway"
        if before:
            return f"another number of partitions: FEEDBACK_PARTITIONS must be {number}, as of all others"
        return f"it knows of no partitions, of which there are {number}: use a producer of ours, or the gateway"

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


def find_strays(partitions: Partitions, *, within: float) -> Strays:
    """Look for feedback that no worker will find, in a cluster on every primary.

    Args:
        partitions: Redis.
        within: Seconds after which it is left at what was found.

    Raises:
        redis.RedisError: Redis, or a primary, is unavailable, or refuses.
    """
    # One Redis is asked once all the same; to connect to every primary takes longer than nothing.
    if within <= 0 and partitions.is_cluster:
        return Strays(complete=False)
    prefixes = tuple(prefix_of(client) for client in partitions)
    ours: set[bytes] = {name.encode() for client in partitions for name in broker_keys(client).lists(QUEUE)}
    deadline, complete, found = time.monotonic() + within, True, dict[bytes, int]()
    with partitions.primaries() as primaries:
        for number, client in enumerate(primaries):
            share = (deadline - time.monotonic()) / (len(primaries) - number)
            complete &= _scan(client, ours, found, until=time.monotonic() + share)
    lists = tuple(Stray(key=key, entries=found[key], prefixes=prefixes) for key in sorted(found))
    return Strays(lists=lists, complete=complete)


def _scan(client: redis.Redis, ours: set[bytes], found: dict[bytes, int], *, until: float) -> bool:
    """Look through the keys of one server, and return whether there was time for all of them."""
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, count=_AT_ONCE, _type="list")
        found |= _with_feedback(client, [key for key in cast("list[bytes]", keys) if key not in ours])
        if not cursor or time.monotonic() >= until:
            return not cursor


def move_home(partitions: Partitions, stray: Stray) -> int:
    """Move the feedback of a list to the queue, and return how many messages that were; what else is there stays.

    Each goes to the partition of its request_id, or to the first one if it has none that can be read. Cut short, it
    leaves each message in one of the two, or, between two nodes of a cluster, in both.
    """
    moved, passed = 0, 0
    with partitions.of_key(stray.key) as source:
        while entries := cast("list[bytes]", source.lrange(stray.key, -passed - _MOVED_AT_ONCE, -passed - 1)):
            feedback = [entry for entry in reversed(entries) if _is_feedback(entry)]
            of_partition: dict[int, list[bytes]] = {}
            for entry in feedback:
                request_id = request_id_in(entry)
                number = partitions.number_of(request_id) if request_id else 0
                of_partition.setdefault(number, []).append(entry)
            for number, those in of_partition.items():
                moved += _move(partitions, number, source, stray.key, those)
            passed += len(entries) - len(feedback)
    return moved


def _move(partitions: Partitions, number: int, source: redis.Redis, key: bytes, messages: Sequence[bytes]) -> int:
    target = partitions[number]
    keys = broker_keys(target)
    arguments = [QUEUE, keys.steps_text, 1, QUEUE, *messages]
    counts = feedback_keys(target).counts.encode()
    if not partitions.is_cluster or slot_of(key) == slot_of(counts):
        # In the accounts of several partitions what arrives is counted there: it was counted elsewhere, if at all.
        counted_in = counts if len(partitions) > 1 else key
        return int(_MOVE(target, [key, counted_in, *keys.lists(QUEUE)], arguments))
    copy_to_partition(target, messages)
    return drop_copied(source, key, messages)


def copy_to_partition(target: redis.Redis, messages: Sequence[bytes]) -> None:
    """Lay copies of messages in a partition: the first half of a move between slots, which no script can do at once.

    Who is killed behind it leaves each message in both places. Each copy is counted as accepted where it arrives, now
    or when a worker takes it, and ends there: so the equation holds, and the second one is a duplicate, delivered once.

    Args:
        target: The partition's client.
        messages: The messages, the oldest first.
    """
    keys = broker_keys(target)
    arguments = [QUEUE, keys.steps_text, 1, QUEUE, *messages]
    _ADOPT(target, [feedback_keys(target).counts, *keys.lists(QUEUE)], arguments)


def drop_copied(source: redis.Redis, key: bytes, messages: Sequence[bytes]) -> int:
    """Drop messages from a list after they were copied, and return how many were there still."""
    with source.pipeline(transaction=False) as pipe:
        for message in messages:
            pipe.lrem(key, -1, message)  # type: ignore[arg-type]  # redis-py's types know only text
        return sum(map(int, pipe.execute()))


def _with_feedback(client: redis.Redis, keys: list[bytes]) -> dict[bytes, int]:
    """Those of some lists that hold feedback, and how many entries."""
    if not keys:
        return {}
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.llen(key)
            pipe.lrange(key, 0, _LOOKED_AT - 1)
            pipe.lrange(key, -_LOOKED_AT, -1)
        answers: list[Any] = pipe.execute(raise_on_error=False)
    return {
        key: length
        for key, length, first, last in zip(keys, answers[::3], answers[1::3], answers[2::3], strict=True)
        if isinstance(first, list) and isinstance(last, list) and any(map(_is_feedback, [*first, *last]))
    }


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
