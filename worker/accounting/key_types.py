"""Whether each key has the type that it is read as: another program's may stand there.

Redis refuses each command on a key of another type, without saying which key: a worker would end, and say WRONGTYPE.
celery-redis-plus, another transport for Celery, makes Kombu's set of bindings a sorted set, and keeps a queue so too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import redis

from producer.message import QUEUE
from worker.accounting.queue_keys import KEYS
from worker.broker.keys import DELAYED
from worker.dead_letters.replays.queue import REPLAYS
from worker.delivery.revocations import REVOKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["WrongKeyType", "WrongType", "find_wrong_types", "naming_wrong_types"]

_BINDING: Final = "_kombu.binding."
"""Before an exchange's name, in the key of Kombu's set of the queues that are bound to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongType:
    """A key that can't be used.

    Attributes:
        key: Its name.
        found: The type that it has.
        expected: The type that it is read as.
    """

    key: str
    found: str
    expected: str

    @property
    def words(self) -> str:
        """What is wrong, and who may have done it."""
        cause = "; celery-redis-plus does that, which shares this Redis then" if self.found == "zset" else ""
        return f"the key {self.key!r} is a {self.found}, and a {self.expected} is expected there{cause}"

    @property
    def fix(self) -> str:
        """What to do."""
        other = "give the other program another Redis, or another database number"
        if self.key.startswith(_BINDING):
            return f"{other}; then DEL {self.key}, which holds no message: workers make it again"
        return f"{other}; RENAME {self.key!r} to another name, and look what is in it"


class WrongKeyType(redis.ResponseError):
    """A key that is needed has another type; the message names it, and says what to do."""


def find_wrong_types(client: redis.Redis) -> tuple[WrongType, ...]:
    """Look at every key with a name that is known beforehand, in one round trip.

    Args:
        client: A client that puts no prefix before keys.

    Raises:
        redis.RedisError: Redis is away, or refuses.
    """
    expected = _types()
    with client.pipeline(transaction=False) as pipe:
        for key in expected:
            pipe.type(key)
        found = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in pipe.execute()]
    pairs = zip(expected.items(), found, strict=True)
    return tuple(
        WrongType(key=key, found=kind, expected=wanted) for (key, wanted), kind in pairs if kind not in {"none", wanted}
    )


@contextmanager
def naming_wrong_types(client: redis.Redis) -> Iterator[None]:
    """Let the block raise `WrongKeyType` where Redis says no more than that some key has another type.

    Raises:
        WrongKeyType: Which key it is.
    """
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        sentences = [f"{wrong.words}: {wrong.fix}" for wrong in find_wrong_types(client)]
        raise WrongKeyType("; ".join(sentences) or str(error)) from error


def _types() -> Mapping[str, str]:
    """Every key that workers, producers and commands read, but for those with a message's or a request_id's name."""
    lists = [name for queue in (QUEUE, REPLAYS) for name in KEYS.lists(queue)]
    exchanges = (QUEUE, REPLAYS, f"{QUEUE}.pidbox", f"reply.{QUEUE}.pidbox", f"{QUEUE}.events")
    return {
        **dict.fromkeys(lists, "list"),
        **{name + DELAYED: "zset" for name in lists},
        KEYS.unacked: "hash",
        KEYS.index: "zset",
        KEYS.holders: "zset",
        KEYS.pulse: "hash",
        KEYS.counts_of(QUEUE): "hash",
        KEYS.hold_of(QUEUE): "hash",
        REVOKED: "zset",
        f"{QUEUE}:words": "string",
        f"{QUEUE}:words:0": "hash",
        f"{QUEUE}:pruned": "string",
        f"{QUEUE}:replays:watched": "string",
        **{_BINDING + exchange: "set" for exchange in exchanges},
    }
