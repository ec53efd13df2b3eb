"""The events that are measured with: the same for every subject."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUP", "ORG", "PATH", "Fields", "events", "request_ids"]

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
