"""What becomes of messages that wait for their time, each in one step in Redis with its counts.

Every function raises `redis.RedisError` if Redis is unavailable, or refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from producer.message import QUEUE
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import COUNT, Script, lua

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

__all__ = ["Ending", "Replacement", "end", "replace_entries", "send"]

_PACKAGE: Final = "worker.operations.waiting"
_REPLACE: Final = Script(COUNT + MESSAGE + QUEUES + lua(_PACKAGE, "replace"))
_END: Final = Script(COUNT + lua(_PACKAGE, "end_scheduled"))


class Replacement(NamedTuple):
    """A message as it waits, and as what it goes on."""

    entry: bytes
    other: bytes


class Ending(NamedTuple):
    """A message as it waits, and what is counted as it ends."""

    entry: bytes
    counts: Sequence[str]


def send(client: redis.Redis, step: int, replacements: Sequence[Replacement]) -> list[bool]:
    """Lay messages at the head of their list, and return of each whether it was there.

    Args:
        client: The client of their partition, which answers in bytes.
        step: Which of the queue's lists they go to.
        replacements: The messages, what is due last first.
    """
    return [bool(entry) for entry in _replace(client, step, "send", replacements)]


def replace_entries(client: redis.Redis, step: int, replacements: Sequence[Replacement]) -> list[bytes]:
    """Let messages wait on in another form, until the same time; the arguments are those of `send`.

    Returns:
        Of each as what it waits now: another that is equal makes it differ by a blank. Empty if it was not there.
    """
    return _replace(client, step, "keep", replacements)


def end(client: redis.Redis, step: int, endings: Sequence[Ending]) -> list[bool]:
    """Remove messages and count how they ended; return of each whether it was there. See `send` for the arguments."""
    if not endings:
        return []
    delayed = _list(client, step) + DELAYED
    arguments = [part for entry, counts in endings for part in (entry, ",".join(counts))]
    return [bool(removed) for removed in _END(client, [delayed, feedback_keys(client).counts], arguments)]


def _replace(client: redis.Redis, step: int, how: str, replacements: Sequence[Replacement]) -> list[bytes]:
    if not replacements:
        return []
    name = _list(client, step)
    keys = [name + DELAYED, name, feedback_keys(client).counts]
    answers = _REPLACE(client, keys, [how, *(part for pair in replacements for part in pair)])
    return [answer.encode() if isinstance(answer, str) else answer for answer in answers]


def _list(client: redis.Redis, step: int) -> str:
    return broker_keys(client).lists(QUEUE)[step]
