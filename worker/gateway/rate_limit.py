"""How often each client may ask: a token bucket for each key, in each gateway process."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """Lets each client ask so often, and a second's worth of it at once.

    Args:
        rate: Requests per second of one client.
        clock: Seconds.
    """

    def __init__(self, rate: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, client: str) -> int:
        """Take a token: return 0 if there is one, or in how many whole seconds there will be.

        Args:
            client: The name of its key: there are no more buckets than keys.
        """
        now = self._clock()
        tokens, since = self._buckets.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        if tokens >= 1:
            self._buckets[client] = (tokens - 1, now)
            return 0
        self._buckets[client] = (tokens, now)
        return max(1, math.ceil((1 - tokens) / self._rate))
