"""The broker's keys: has each the type that it is read as, and is there feedback where no worker looks?"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from worker.accounting.key_types import find_odd_values, find_wrong_types
from worker.accounting.strays import find_strays
from worker.operations.doctor.finding import Finding, green, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["look_at_keys"]


def look_at_keys(client: redis.Redis, *, within: float) -> Iterator[Finding]:
    """Check the keys.

    Args:
        client: A client that answers in bytes.
        within: Seconds for looking through all their names.

    Raises:
        redis.RedisError: Redis is unavailable, or refuses.
    """
    yield _types(client)
    yield from _values(client)
    yield _strays(client, within)


def _types(client: redis.Redis) -> Finding:
    check, wrong = "broker keys", find_wrong_types(client)
    if not wrong:
        return green(check, "each has the type that it is read as")
    summary = "; ".join(one.summary for one in wrong)
    return red(check, f"{summary}: no worker starts", fix="; ".join(one.fix for one in wrong))


def _values(client: redis.Redis) -> Iterator[Finding]:
    """What is odd in keys that have their type: those that have another one are told of already."""
    with suppress(redis.ResponseError):
        for odd in find_odd_values(client):
            yield red("broker keys", odd.summary, fix=odd.fix)


def _strays(client: redis.Redis, within: float) -> Finding:
    check, strays = "stray feedback", find_strays(client, within=within)
    if strays.lists:
        summary = "; ".join(stray.summary for stray in strays.lists)
        fix = "correct the client; `aquilax-feedback reconcile --repair` moves what is there to the queue"
        return red(check, f"no worker reads {summary}", fix=fix)
    if not strays.complete:
        fix = "`aquilax-feedback reconcile` looks for longer; or give the feedback a Redis of its own"
        return yellow(check, "none found, but there are too many keys to look at them all", fix=fix)
    return green(check, "none: all of it is in the lists that workers read")
