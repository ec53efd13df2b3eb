"""Messages that are set aside under a name: they wait among the delayed ones until the name is given up.

Each name has a moment of its own thousands of years from now, under which its messages stand in the sorted set of
delayed messages. So all that walks through delayed messages knows them - the accounts, purge, revoke, move - also that
of a release which knows no names; and all of one name are found at once, however many others wait.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

from producer.message import QUEUE
from worker.broker.keys import DELAYED, broker_keys
from worker.clients.redis.scripts import Script, lua

if TYPE_CHECKING:
    from collections.abc import Collection

    import redis

__all__ = ["SET_ASIDE", "GivenBack", "count_set_aside", "give_back", "give_one_back", "is_set_aside", "moment_of"]

SET_ASIDE: Final = range(2 * 10**14, 2 * 10**14 + 2**45)
"""The moments, in ms since 1970: from the year 8307 to 9422, which every program can still tell as a time."""

_GIVE_BACK: Final = Script(lua("worker.broker", "give_back"))
_GIVE_ONE_BACK: Final = Script(lua("worker.broker", "give_one_back"))


class GivenBack(NamedTuple):
    """What went back to the queue of a partition: how many messages, and how many wait in its lists since."""

    messages: int
    queued: int


def moment_of(name: str) -> int:
    """Return the moment under which the messages of a name stand, in ms since 1970."""
    digest = int.from_bytes(blake2b(name.encode(), digest_size=8).digest())
    return SET_ASIDE.start + digest % len(SET_ASIDE)


def is_set_aside(due: float) -> bool:
    """Whether the moment at which a message is due, in ms since 1970, is a name's."""
    # Not `in`: a range compares a float with its numbers one by one.
    return SET_ASIDE.start <= due < SET_ASIDE.stop


def give_back(client: redis.Redis, *, but: Collection[str], most: int) -> GivenBack:
    """Let messages be handed out next that are set aside in a partition under names that keep them no longer.

    Args:
        client: The partition's; it puts no prefix before keys.
        but: The names that go on.
        most: How many messages at most.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    kept = sorted(map(moment_of, but))
    return GivenBack(*_GIVE_BACK(client, _places(client), [SET_ASIDE.start, SET_ASIDE.stop, most, *kept]))


def give_one_back(client: redis.Redis, name: str) -> bool:
    """Let one message of a name be handed out next, if one is set aside in a partition; return whether.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    return bool(_GIVE_ONE_BACK(client, _places(client), [moment_of(name)]))


def count_set_aside(client: redis.Redis, names: Collection[str]) -> list[int]:
    """Return how many messages are set aside in a partition under each of the names, and under any at the end.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    ranges = [(moment, moment) for moment in map(moment_of, names)] + [(SET_ASIDE.start, SET_ASIDE.stop - 1)]
    delayed = _places(client)[1::2]
    with client.pipeline(transaction=False) as pipe:
        for first, last in ranges:
            for key in delayed:
                pipe.zcount(key, first, last)
        found = pipe.execute()
    return [sum(found[at : at + len(delayed)]) for at in range(0, len(found), len(delayed))]


def _places(client: redis.Redis) -> list[str]:
    return [key for name in broker_keys(client).lists(QUEUE) for key in (name, name + DELAYED)]
