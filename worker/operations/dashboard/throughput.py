"""How fast it goes just now, from the looks that pages have had at the queue a moment ago."""

from __future__ import annotations

import threading
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.accounting.snapshot import Rates

if TYPE_CHECKING:
    from worker.accounting.snapshot import Snapshot

__all__ = ["Throughput"]

_APART: Final = timedelta(seconds=1)
"""Looks closer to each other than this say little: one of them is kept."""

_REMEMBERED: Final = timedelta(seconds=20)


class Throughput:
    """Remembers looks at the queue, for all who watch it; safe for many threads."""

    def __init__(self) -> None:
        self._looks: deque[Snapshot] = deque()
        self._one_at_a_time = threading.Lock()

    def after(self, look: Snapshot) -> Rates | None:
        """Note one more look, and return the rates until then; None if there was none a moment ago."""
        with self._one_at_a_time:
            while self._looks and not timedelta() <= look.at - self._looks[0].at <= _REMEMBERED:
                self._looks.popleft()
            first = self._looks[0] if self._looks else None
            if not self._looks or look.at - self._looks[-1].at >= _APART:
                self._looks.append(look)
        return None if first is None or look.at - first.at < _APART else Rates.between(first, look)
