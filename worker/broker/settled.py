"""Messages that have ended in a script of the ledger, so that their acknowledgement has nothing left to write."""

from __future__ import annotations

from typing import Final

__all__ = ["SETTLED"]

_MOST_SETTLED: Final = 10_000
"""More than any process has in hand."""


class _Settled:
    """Messages that a script has taken out of this process's hand already: nothing is left to be written down for them.

    Who settles a message need not be the process that acknowledges it, so not all are ever asked for: then all are
    forgotten at some time. An acknowledgement that is written down all the same does no harm.
    """

    def __init__(self) -> None:
        self._tags: dict[str, None] = {}

    def add(self, tag: str) -> None:
        """Remember one, by its delivery tag."""
        if len(self._tags) >= _MOST_SETTLED:
            self._tags.clear()
        self._tags[tag] = None

    def take(self, tag: str) -> bool:
        """Return whether it was settled, once."""
        return self._tags.pop(tag, self) is None


SETTLED: Final = _Settled()
"""What was settled by this process."""
