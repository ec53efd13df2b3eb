"""Where the slots of a cluster are, as one of its nodes told this process a moment ago.

A process opens dozens of connections at once, when it starts and when a server is lost: one question serves all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from producer.cluster import place_of

if TYPE_CHECKING:
    from producer.broker_url import Place

__all__ = ["KnownOwners"]

_FRESH: Final = 1.0
"""Seconds for which it is believed. What is wrong in it a redirection corrects."""


class KnownOwners:
    """The last reply to CLUSTER SLOTS."""

    def __init__(self) -> None:
        self._owners: list[tuple[int, int, Place]] = []
        self._until = 0.0

    def learn(self, ranges: list[Any], asked: Place) -> None:
        """Take a reply over, and which node gave it."""
        self._owners = [
            (first, last, place_of(nodes[0][0], nodes[0][1], asked)) for first, last, *nodes in ranges if nodes
        ]
        self._until = time.monotonic() + _FRESH

    def place_of(self, slot: int) -> Place | None:
        """Return where a slot is; None if that was told too long ago, or not at all."""
        if time.monotonic() >= self._until:
            return None
        return next((place for first, last, place in self._owners if first <= slot <= last), None)
