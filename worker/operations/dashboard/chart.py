"""Counts over time as bars of an SVG, which needs no style and no script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bar", "bars"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar, in units of the view box; ``number`` is which stretch of time it is for, from 0."""

    number: int
    count: int
    x: str
    y: int
    width: str
    height: int


def bars(counts: Sequence[int], *, width: int, height: int) -> list[Bar]:
    """Return one bar for each count that is not zero, from the left to the right.

    Args:
        counts: The counts.
        width: Of the whole, in units of the view box.
        height: Of the highest bar. One that is not zero is at least one unit high, to be seen.
    """
    highest, step = max(counts, default=0), width / max(len(counts), 1)
    heights = [max(1, round(height * count / highest)) if count else 0 for count in counts]
    return [
        Bar(
            number=number,
            count=count,
            x=f"{number * step:g}",
            y=height - high,
            width=f"{step * 0.8:g}",
            height=high,
        )
        for number, (count, high) in enumerate(zip(counts, heights, strict=True))
        if count
    ]
