"""Durations as a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["span"]

_UNITS: Final = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_TEN_SECONDS: Final = 10


def span(duration: timedelta) -> str:
    """Return a duration in its two largest units: ``2 d 3 h``, ``3 h 12 min``, ``45 s``; ``4.2 s`` if it is short."""
    seconds = abs(duration.total_seconds())
    for size, unit, rest, rest_unit in _UNITS:
        if seconds >= size:
            whole = int(seconds // size)
            left = int(seconds % size // rest)
            return f"{whole} {unit} {left} {rest_unit}" if left else f"{whole} {unit}"
    return f"{seconds:.0f} s" if seconds >= _TEN_SECONDS else f"{seconds:.1f} s"
