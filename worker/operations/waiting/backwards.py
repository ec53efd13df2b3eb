"""All messages that wait and fit, in steps, what is due last first: who acts on a step does not move what follows.

What is in front goes as it becomes due, and what is scheduled again meanwhile for a later time was passed already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, cast

from producer.message import QUEUE
from worker.broker.keys import DELAYED, broker_keys
from worker.operations.waiting.message import MessageId, Place, WaitingMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    import redis

    from worker.clients.redis.partitions import Partitions

__all__ = ["Step", "by_id", "every"]

_TIES: Final = 2000
"""Messages of one place and one time among which a named one is looked for."""


class Step(NamedTuple):
    """Some messages of one place, what is due last first."""

    place: Place
    client: redis.Redis
    messages: Sequence[WaitingMessage]


def every(
    partitions: Partitions, fits: Callable[[WaitingMessage], bool], *, at_once: int, stays: Collection[bytes]
) -> Iterator[Step]:
    """Yield all messages that fit.

    Args:
        partitions: Redis.
        fits: Whether a message is meant.
        at_once: How many are read in one step.
        stays: Those of the step that was yielded last which are still there, when the next one is asked for.

    Raises:
        redis.RedisError: A partition is unavailable, or refuses.
    """
    for number, client in enumerate(partitions):
        for step, name in enumerate(broker_keys(client).lists(QUEUE)):
            place = Place(number, step)
            due, passed = "+inf", 0
            while True:
                entries = _read(client, name + DELAYED, due, passed, at_once)
                messages = [WaitingMessage(place=place, due=score, entry=entry) for entry, score in entries]
                meant = [message for message in messages if fits(message)]
                if meant:
                    yield Step(place, client, meant)
                if len(entries) < at_once:
                    break
                gone = {message.entry for message in meant} - set(stays)
                last = entries[-1][1]
                left = sum(score == last and entry not in gone for entry, score in entries)
                due, passed = f"{last:.17g}", left + (passed if due == f"{last:.17g}" else 0)


def by_id(partitions: Partitions, ids: Sequence[MessageId]) -> tuple[list[Step], int]:
    """Return the messages of these ids, and how many of them do not wait any more.

    Raises:
        redis.RedisError: A partition is unavailable, or refuses.
    """
    found: dict[Place, list[WaitingMessage]] = {}
    for name in dict.fromkeys(ids):
        place, steps = name.place, len(broker_keys(partitions.home).lists(QUEUE))
        if place.partition >= len(partitions) or place.step >= steps:
            continue
        client = partitions[place.partition]
        delayed = broker_keys(client).lists(QUEUE)[place.step] + DELAYED
        due = f"{name.due:.17g}"
        for entry in cast("list[bytes]", client.zrangebyscore(delayed, due, due, start=0, num=_TIES)):
            message = WaitingMessage(place=place, due=name.due, entry=entry)
            if message.id == name:
                found.setdefault(place, []).append(message)
                break
    steps_found = [
        Step(place, partitions[place.partition], sorted(messages, key=lambda one: -one.due))
        for place, messages in found.items()
    ]
    return steps_found, len(set(ids)) - sum(map(len, found.values()))


def _read(client: redis.Redis, key: str, due: str, passed: int, at_once: int) -> list[tuple[bytes, float]]:
    """Read what is due by then, what is due last first, behind those that were passed."""
    found = client.zrevrangebyscore(key, due, "-inf", start=passed, num=at_once, withscores=True)
    return cast("list[tuple[bytes, float]]", found)
