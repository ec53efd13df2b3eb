"""The events that are measured with: the same for every subject."""

from __future__ import annotations

import random
import uuid
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUP", "ORG", "PATH", "Fields", "events", "repeating", "request_ids"]

Fields = dict[str, str]
"""An event as a task's keyword arguments."""

ORG: Final = "65dd3e835a669e3347654200"
GROUP: Final = "67e86d036e9921509f730483"
PATH: Final = "/api/v2/ai/feedback"


def request_ids(number: int, *, seed: int = 0) -> Iterator[str]:
    """Yield as many request_ids; the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - chance here is seeded, not secret
    for _ in range(number):
        yield str(uuid.UUID(int=chance.getrandbits(128), version=4))


def events(number: int, *, seed: int = 0) -> Iterator[Fields]:
    """Yield as many events, each with a request_id of its own."""
    for request_id in request_ids(number, seed=seed):
        yield {"request_id": request_id, "status": "true", "org": ORG, "group": GROUP}


def repeating(number: int, *, seed: int = 0) -> Iterator[Fields]:
    """Yield as many events, of which every third is one of those before: the same vote and the other one, in turns."""
    chance = random.Random(seed)  # noqa: S311 - as above
    fresh, recent = events(number, seed=seed), deque[Fields](maxlen=_RECENT)
    for turn in range(number):
        if turn % 3 == 2:  # noqa: PLR2004 - every third
            earlier = chance.choice(recent)
            yield earlier | {"status": earlier["status"] if turn % 2 else _OTHER[earlier["status"]]}
        else:
            recent.append(next(fresh))
            yield recent[-1]


_RECENT: Final = 1000
"""Events among which is the one that is repeated: some are still in flight then, most are not."""

_OTHER: Final = {"true": "false", "false": "true"}
