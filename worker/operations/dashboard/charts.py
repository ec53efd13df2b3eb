"""Charts as SVG's paths, and where each stretch of time leads: bars and lines over the buckets of a history.

No text is in them, so that they may be stretched to any width; a bucket is `STEP` units wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["HEIGHT", "STEP", "Chart", "Mark", "Series", "round_span", "round_top"]

STEP: Final = 10
_BAR: Final = 8
HEIGHT: Final = 120


_FACTORS: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
_DAY: Final = 86_400
_SPANS: Final = (
    (1, (1, 2, 5, 10, 20, 30)),
    (60, (1, 2, 5, 10, 15, 20, 30, 45)),
    (3600, (1, 2, 3, 4, 6, 8, 12, 18, 24)),
)


def round_top(highest: float) -> float:
    """Return a round number that is no less than a value, and not much more, for the end of a scale; 1 for 0."""
    if highest <= 0:
        return 1
    power: float = 10 ** floor(log10(highest))
    return next(factor * power for factor in _FACTORS if factor * power >= highest * 0.999999)


def round_span(highest: float) -> float:
    """Return the same for seconds: a round number of seconds, minutes, hours or days."""
    spans = (unit * factor for unit, factors in _SPANS for factor in factors)
    return next((seconds for seconds in spans if seconds >= highest), round_top(highest / _DAY) * _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One of several things in a chart.

    Attributes:
        name: As the legend has it.
        css: The class of its colour.
        values: One for each bucket; None where nothing is known.
        is_line: Whether it is a line, or bars that stand on those of the series before it.
        summary: What the legend says of all of it.
    """

    name: str
    css: str
    values: Sequence[float | None]
    is_line: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What can be pointed at: a bucket, or a part of its bar.

    Attributes:
        text: What it says.
        href: Where it leads; '' if there is nothing behind it.
        x: Its left edge, in units; it is as wide as a bucket.
        y: Its upper edge.
        height: How high it is.
    """

    text: str
    href: str = ""
    x: int
    y: float = 0
    height: float = HEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart.

    Attributes:
        name: Its name in the page.
        title: What it shows.
        series: What is in it; bars first, from the lowest.
        marks: What can be pointed at.
        shown: Turns a value into text, for the scale.
        rounded: Returns the end of a scale for the highest value.
        summary: What it says of all of it.
    """

    name: str
    title: str
    series: Sequence[Series]
    marks: Sequence[Mark]
    shown: Callable[[float], str]
    summary: str = ""
    rounded: Callable[[float], float] = round_top

    @property
    def width(self) -> int:
        """How wide it is, in units."""
        return STEP * max((len(one.values) for one in self.series), default=1)

    @property
    def top(self) -> float:
        """The value at the upper edge."""
        bars = [one.values for one in self.series if not one.is_line]
        stacks = [sum(value or 0 for value in values) for values in zip(*bars, strict=True)]
        lines = [value or 0 for one in self.series if one.is_line for value in one.values]
        return self.rounded(max([*stacks, *lines], default=0))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not any(value for one in self.series for value in one.values)

    @property
    def linked(self) -> Sequence[Mark]:
        """The marks that lead somewhere."""
        return [mark for mark in self.marks if mark.href]

    @property
    def unlinked(self) -> Sequence[Mark]:
        """The other marks."""
        return [mark for mark in self.marks if not mark.href]

    def paths(self) -> Iterator[tuple[Series, str]]:
        """Yield each series that has anything with its path, in the order in which they are drawn."""
        top, base = self.top, [0.0] * (self.width // STEP)
        for one in self.series:
            path = _line(one.values, top) if one.is_line else _bars(one.values, base, top)
            if path:
                yield one, path
            if not one.is_line:
                base = [below + (value or 0) for below, value in zip(base, one.values, strict=True)]


def _bars(values: Sequence[float | None], base: Sequence[float], top: float) -> str:
    """Each at least one unit high, to be seen."""
    parts = []
    for number, (value, below) in enumerate(zip(values, base, strict=True)):
        if value:
            high = max(HEIGHT * value / top, 1)
            lower = HEIGHT * (1 - below / top)
            parts.append(f"M{number * STEP + 1} {max(lower - high, 0):.4g}h{_BAR}v{high:.4g}h-{_BAR}z")
    return "".join(parts)


def _line(values: Sequence[float | None], top: float) -> str:
    """With a gap where nothing is known; what stands alone between two of them is a dot."""
    parts, pen = [], "M"
    for number, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        x, y = number * STEP + STEP // 2, HEIGHT * (1 - value / top)
        alone = pen == "M" and (number + 1 == len(values) or values[number + 1] is None)
        parts.append(f"{pen}{x} {y:.4g}" + ("h.1" if alone else ""))
        pen = "L"
    return "".join(parts)
