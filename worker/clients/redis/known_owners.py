"""Where the slots of a cluster are, as one of its nodes told this process a moment ago.

A process opens dozens of connections at once, when it starts and when a server is lost: one question serves all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from producer.cluster import owner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from producer.broker_url import Place
    from producer.cluster import SlotRange

__all__ = ["KnownOwners"]

_FRESH: Final = 1.0
"""Seconds for which it is believed. What is wrong in it a redirection corrects."""


class KnownOwners:
    """What was told last."""

    def __init__(self) -> None:
        self._ranges: Sequence[SlotRange] = ()
        self._until = 0.0

    def learn(self, ranges: Sequence[SlotRange]) -> None:
        """Take over what a node has told."""
        self._ranges = ranges
        self._until = time.monotonic() + _FRESH

    def place_of(self, slot: int) -> Place | None:
        """Return where a slot is; None if that was told too long ago, or not at all."""
        return None if time.monotonic() >= self._until else owner_of(self._ranges, slot)
