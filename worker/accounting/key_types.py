"""Whether each key has the type that it is read as, and holds what is expected: another program's may stand there.

Redis refuses each command on a key of another type, without saying which key: a worker would end, and say WRONGTYPE.
celery-redis-plus, another transport for Celery, makes Kombu's set of bindings a sorted set, and keeps a queue so too.

Every function here takes a client that answers in bytes and puts no prefix before keys, and raises `redis.RedisError`
if Redis is unavailable or refuses.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import redis

from producer.message import QUEUE
from worker.broker.keys import DELAYED, broker_keys
from worker.broker.set_aside import SET_ASIDE
from worker.clients.redis.keys import feedback_keys
from worker.dead_letters.replays.queue import REPLAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["KeyProblem", "WrongKeyType", "find_odd_values", "find_wrong_types", "naming_wrong_types"]

_BINDING: Final = "_kombu.binding."
"""Before an exchange's name, in the key of Kombu's set of the queues that are bound to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyProblem:
    """A key of another type than it is read as, or with a value that no program of ours writes.

    Attributes:
        summary: What is wrong, with the key's name.
        fix: What to do.
    """

    summary: str
    fix: str


class WrongKeyType(redis.ResponseError):
    """A key that is needed has another type; the message names it, and says what to do."""


def find_wrong_types(client: redis.Redis) -> tuple[KeyProblem, ...]:
    """Look at every key with a name that is known beforehand, in one round trip."""
    expected = _types(client)
    with client.pipeline(transaction=False) as pipe:
        for key in expected:
            pipe.type(key)
        found = [kind.decode() if isinstance(kind, bytes) else str(kind) for kind in pipe.execute()]
    pairs = zip(expected.items(), found, strict=True)
    return tuple(_wrong_type(key, kind, wanted) for (key, wanted), kind in pairs if kind not in {"none", wanted})


def _wrong_type(key: str, found: str, expected: str) -> KeyProblem:
    cause = "; celery-redis-plus does that, which shares this Redis then" if found == "zset" else ""
    rest = f"RENAME {key!r} to another name, and look what is in it"
    if _BINDING in key:
        rest = f"then DEL {key}, which holds no message: workers make it again"
    return KeyProblem(
        summary=f"the key {key!r} is a {found}, and a {expected} is expected there{cause}",
        fix=f"give the other program another Redis, or another database number; {rest}",
    )


def find_odd_values(client: redis.Redis) -> Iterator[KeyProblem]:
    """Look for what no program of ours writes into a key, and what would keep messages from being delivered."""
    now = int(client.time()[0]) * 1000
    yield from _odd_dedup_store(client)
    yield from _leases_too_long(client, now + _LONGEST_LEASE)
    yield from _never_due(client, now + _NEVER)


_BUCKETS_AHEAD: Final = 4
"""Buckets beyond the last one that are looked for: with fewer counted than there are, one of these is there."""

_FEW: Final = 5
_LONGEST_LEASE: Final = 24 * 3600 * 1000
_NEVER: Final = 10 * 365 * 24 * 3600 * 1000
"""In ms."""


def _leases_too_long(client: redis.Redis, until: int) -> Iterator[KeyProblem]:
    key = broker_keys(client).leases
    for raw in cast("list[bytes]", client.zrangebyscore(key, until, "+inf", 0, _FEW)):
        name = raw.decode(errors="backslashreplace")
        lasts = f"a lease of {name!r} that lasts longer than a day"
        yield KeyProblem(
            summary=f"the key {key!r} has {lasts}: what it holds stays there",
            fix=f"ZADD {key} 1 {name!r}: then other workers return what it holds",
        )


def _never_due(client: redis.Redis, at: int) -> Iterator[KeyProblem]:
    keys = broker_keys(client)
    for delayed in (name + DELAYED for queue in (QUEUE, REPLAYS) for name in keys.lists(queue)):
        found = client.zcount(delayed, at, "+inf") - client.zcount(delayed, SET_ASIDE.start, SET_ASIDE.stop - 1)
        if found > 0:
            yield KeyProblem(
                summary=f"the key {delayed!r} has messages that are due in ten years or never: {found:,}",
                fix=f"ZRANGE {delayed!r} {at} +inf BYSCORE shows them; a lower score lets them go (ZADD XX)",
            )


def _odd_dedup_store(client: redis.Redis) -> Iterator[KeyProblem]:
    key = feedback_keys(client).dedup
    said = client.get(key)
    buckets = int(said) if isinstance(said, bytes) and said.isdigit() else 0
    ahead = [f"{key}:{number}" for number in range(max(buckets, 1), buckets + _BUCKETS_AHEAD)]
    if said is not None and (buckets < 1 or client.exists(*ahead)):
        yield KeyProblem(
            summary=f"the key {key!r} is {str(said)[1:80]}, and the number of the keys {key}:… is expected there",
            fix=f"DEL {key}: the next delivery counts them; a repeat may have been sent again",
        )


@contextmanager
def naming_wrong_types(client: redis.Redis) -> Iterator[None]:
    """Let the block raise `WrongKeyType`, where Redis says no more than that some key has another type."""
    try:
        yield
    except redis.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        sentences = [f"{wrong.summary}: {wrong.fix}" for wrong in find_wrong_types(client)]
        raise WrongKeyType("; ".join(sentences) or str(error)) from error


def _types(client: object) -> Mapping[str, str]:
    """Every key that workers, producers and commands read, but for those with a message's or a request_id's name."""
    keys, ours = broker_keys(client), feedback_keys(client)
    lists = [name for queue in (QUEUE, REPLAYS) for name in keys.lists(queue)]
    exchanges = (QUEUE, REPLAYS, f"{QUEUE}.pidbox", f"reply.{QUEUE}.pidbox", f"{QUEUE}.events")
    by_type = {
        "list": lists,
        "zset": [*(name + DELAYED for name in lists), keys.index, keys.leases, ours.revoked],
        "hash": [keys.unacked, keys.pulse, ours.counts, ours.hold, ours.holds, ours.history, f"{ours.dedup}:0"],
        "string": [
            ours.dedup,
            ours.pruned,
            ours.replays_watched,
            ours.holds_watched,
            ours.history_sampled,
            ours.notifier,
        ],
        "set": [keys.prefix + _BINDING + exchange for exchange in exchanges],
    }
    return {key: kind for kind, names in by_type.items() for key in names}
