"""Whether each key has the type that it is read as, and holds what is expected: another program's may stand there.

Redis refuses each command on a key of another type, without saying which key: a worker would end, and say WRONGTYPE.
celery-redis-plus, another transport for Celery, makes Kombu's set of bindings a sorted set, and keeps a queue so too.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import redis

from producer.message import QUEUE
from worker.broker.keys import DELAYED, KEYS
from worker.clients.redis.keys import COUNTS, DEDUP, HOLD, PRUNED, REPLAYS_WATCHED, REVOKED
from worker.dead_letters.replays.queue import REPLAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["OddValue", "WrongKeyType", "WrongType", "find_odd_values", "find_wrong_types", "naming_wrong_types"]

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
    def summary(self) -> str:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class OddValue:
    """A key of the right type that holds something that no program of ours writes.

    Attributes:
        summary: What is wrong, with the key's name.
        fix: What to do.
    """

    summary: str
    fix: str


class WrongKeyType(redis.ResponseError):
    """A key that is needed has another type; the message names it, and says what to do."""


def find_wrong_types(client: redis.Redis) -> tuple[WrongType, ...]:
    """Look at every key with a name that is known beforehand, in one round trip.

    Args:
        client: A client that puts no prefix before keys.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
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


def find_odd_values(client: redis.Redis) -> Iterator[OddValue]:
    """Look for what no program of ours writes into a key, and what would keep messages from being delivered.

    Args:
        client: A client that answers in bytes, and puts no prefix before keys.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    now = int(client.time()[0]) * 1000
    yield from _odd_dedup_store(client)
    far = client.zrangebyscore(KEYS.leases, now + _LONGEST_LEASE, "+inf", 0, _FEW)
    for name in (holder.decode(errors="backslashreplace") for holder in cast("list[bytes]", far)):
        summary = (
            f"the key {KEYS.leases!r} has a lease of {name!r} that lasts longer than a day: what it holds stays there"
        )
        yield OddValue(summary=summary, fix=f"ZADD {KEYS.leases} 1 {name!r}: then other workers return what it holds")
    for delayed in (name + DELAYED for queue in (QUEUE, REPLAYS) for name in KEYS.lists(queue)):
        if found := client.zcount(delayed, now + _NEVER, "+inf"):
            summary = f"the key {delayed!r} has messages that are due in ten years or never: {found:,}"
            fix = f"ZRANGE {delayed!r} {now + _NEVER} +inf BYSCORE shows them; a lower score lets them go (ZADD XX)"
            yield OddValue(summary=summary, fix=fix)


_BUCKETS_AHEAD: Final = 4
"""Buckets beyond the last one that are looked for: with fewer counted than there are, one of these is there."""

_FEW: Final = 5
_LONGEST_LEASE: Final = 24 * 3600 * 1000
_NEVER: Final = 10 * 365 * 24 * 3600 * 1000
"""In ms."""


def _odd_dedup_store(client: redis.Redis) -> Iterator[OddValue]:
    said = client.get(DEDUP)
    buckets = int(said) if isinstance(said, bytes) and said.isdigit() else 0
    ahead = [f"{DEDUP}:{number}" for number in range(max(buckets, 1), buckets + _BUCKETS_AHEAD)]
    is_odd = said is not None and (buckets < 1 or client.exists(*ahead))
    if is_odd:
        summary = f"the key {DEDUP!r} is {str(said)[1:80]}, and the number of the keys {DEDUP}:… is expected there"
        yield OddValue(
            summary=summary, fix=f"DEL {DEDUP}: the next delivery counts them; a repeat may have been sent again"
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
        sentences = [f"{wrong.summary}: {wrong.fix}" for wrong in find_wrong_types(client)]
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
        KEYS.leases: "zset",
        KEYS.pulse: "hash",
        COUNTS: "hash",
        HOLD: "hash",
        REVOKED: "zset",
        DEDUP: "string",
        f"{DEDUP}:0": "hash",
        PRUNED: "string",
        REPLAYS_WATCHED: "string",
        **{_BINDING + exchange: "set" for exchange in exchanges},
    }
