"""Scripts that look into the sets of all holders, whose keys have to be declared before it is known which there are.

A script says which holders there are if there are others than it was told of, and is asked again: so what it finds is
one moment, with all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.broker.keys import Keys

__all__ = ["held_keys", "with_holders"]

_TRIES: Final = 5
"""How often a script is asked: a worker would have to start within each round trip."""


def held_keys(keys: Keys, names: Sequence[bytes]) -> list[bytes]:
    """Return the keys of the sets of some holders."""
    return [keys.held_prefix.encode() + name for name in names]


def with_holders(ask: Callable[[Sequence[bytes]], Sequence[Any]]) -> list[Any]:
    """Ask with the names of all holders.

    Args:
        ask: Runs a script with the sets of the holders of these names. It returns the names of all holders if there are
            others, and else an empty list and what was asked for.

    Returns:
        What was asked for.

    Raises:
        redis.RedisError: Redis is unavailable or refuses; or workers come faster than it is asked.
    """
    names: Sequence[bytes] = ()
    for _ in range(_TRIES):
        names, *found = ask(names)
        if not names:
            return found
    raise redis.exceptions.TryAgainError("there was another worker each time that Redis was asked; try again")
