"""The keys of our queue, as the worker's transport is told them."""

from __future__ import annotations

from typing import Final

from producer.message import QUEUE
from worker.broker.keys import DELAYED, Keys

__all__ = ["KEYS", "moment_keys"]

KEYS: Final = Keys(
    prefix="",
    sep="\x06\x16",
    steps=(0, 3, 6, 9),
    counts={QUEUE: f"{QUEUE}:counts"},
    holds={QUEUE: f"{QUEUE}:hold"},
)
"""Kombu's separator and priorities are spelt out, as importing its transport takes long; a test pins them."""


def moment_keys() -> list[str]:
    """Return the keys of `lua/moment.lua`."""
    own = [KEYS.counts_of(QUEUE), KEYS.hold_of(QUEUE), KEYS.unacked, KEYS.index, KEYS.holders]
    return [*own, *(key for name in KEYS.lists(QUEUE) for key in (name, name + DELAYED))]
