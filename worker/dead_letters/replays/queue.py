"""A plan's side in Redis: each row goes into the queue once, however often that is tried.

The set of the rows that have gone is in the same Redis as their messages, and in the same partition. If it loses its
data both are gone together, and a row whose enqueue was not confirmed goes again.

Every function here raises `redis.RedisError` if Redis is unavailable, or refuses.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from producer.message import QUEUE
from worker.clients.redis.keys import feedback_keys
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import redis

__all__ = ["ADVANCE", "LIST", "PRIORITY", "REPLAYS", "enqueue", "say_watching", "withhold", "workers_watch"]

ADVANCE: Final = "feedback.advance_replay"
"""The task that brings a plan one step further."""

REPLAYS: Final = "feedback-replays"
"""The queue of that task: apart from the feedback, so that neither waits for the other."""

PRIORITY: Final = 9
"""The least urgent one: what waits with another goes first, so a replay never holds fresh feedback up."""

LIST: Final = f"{QUEUE}\x06\x16{PRIORITY}"
"""Where Kombu lays messages of this priority. A test holds it to `worker.broker.keys.KEYS`."""

_ENQUEUE: Final = Script(lua("worker.dead_letters.replays", "enqueue"))
_WITHHOLD: Final = Script(lua("worker.dead_letters.replays", "withhold"))

_KEPT: Final = timedelta(days=30)
"""How long the set of a plan's rows outlasts its last step."""

_KEPT_ENDED: Final = timedelta(days=1)
"""The same, once the plan has ended: longer than any process is frozen that still had a step in flight."""

_WATCHED_FOR: Final = timedelta(seconds=10)


def enqueue(client: redis.Redis, name: str, messages: Mapping[int, bytes]) -> frozenset[int]:
    """Enqueue the rows that have not gone, and return those that have now: all but those that were `withhold`-en.

    Args:
        client: The partition to which their events belong. Trying again after an uncertain answer is safe.
        name: The plan's name.
        messages: The message of each row.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses: none of them went, or all of them.
    """
    if not messages:
        return frozenset()
    arguments = [part for row_id, message in messages.items() for part in (row_id, message)]
    keys = feedback_keys(client)
    places = [keys.prefix + LIST, keys.counts, keys.replay + name]
    withheld: list[Any] = _ENQUEUE(client, places, [_seconds(_KEPT), *arguments])
    return frozenset(messages) - frozenset(map(int, withheld))


def withhold(client: redis.Redis, name: str, ids: Collection[int]) -> frozenset[int]:
    """Return those of some rows that have gone to a partition; the others never will, and the set soon expires."""
    return frozenset(map(int, _WITHHOLD(client, [feedback_keys(client).replay + name], [_seconds(_KEPT_ENDED), *ids])))


def say_watching(client: redis.Redis) -> None:
    """Let others know that a worker looks after plans."""
    client.set(feedback_keys(client).replays_watched, "1", ex=_WATCHED_FOR)


def workers_watch(client: redis.Redis) -> bool:
    """Return whether a worker looks after plans."""
    return int(client.pttl(feedback_keys(client).replays_watched)) > 0  # a key without an expiry is another program's


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
