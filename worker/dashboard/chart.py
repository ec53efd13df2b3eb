"""Counts over time as bars: the path of an SVG, which needs no style and no script."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bars"]


def bars(counts: Sequence[int], *, width: int, height: int) -> str:
    """Return the path of one bar for each count, from the left to the right; '' if there is nothing to show.

    Args:
        counts: The counts.
        width: Of the whole, in units of the view box.
        height: Of the highest bar. One that is not zero is at least one unit high, to be seen.
    """
    highest, step = max(counts, default=0), width / max(len(counts), 1)
    return "".join(
        f"M{number * step:g} {height}v{-max(1, round(height * count / highest))}h{step * 0.8:g}V{height}z"
        for number, count in enumerate(counts)
        if count
    )
