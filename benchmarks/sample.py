"""What one measurement of one subject gave, and what several of them come to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Measurement", "Sample", "Spread", "Summary", "quantile", "summarize"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One subject, measured once.

    Attributes:
        case: What was asked of it; a table of its own in the report.
        subject: Which one.
        setup: How that is set up, and how much it was given.
        figures: Numbers by name and unit, the one that counts first.
        missing: Events that never arrived.
    """

    case: str
    subject: str
    setup: str = ""
    figures: dict[str, float]
    missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A kind of measurement.

    Attributes:
        name: Of its files, and on the command line.
        title: Of its tables.
        text: What was measured, and how.
        more_is_better: Of the first figure.
        ranked: Whether the best subject comes first; if not, they stand in the order in which they were measured.
    """

    name: str
    title: str
    text: str
    more_is_better: bool = True
    ranked: bool = True


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of some numbers, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Self:
        """Return those of these numbers."""
        return cls(median=statistics.median(numbers), low=min(numbers), high=max(numbers))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All samples of one subject in one case."""

    case: str
    subject: str
    setup: str
    figures: dict[str, Spread]
    missing: tuple[int, ...]
    rounds: int

    @property
    def main(self) -> Spread:
        """The figure that counts."""
        return next(iter(self.figures.values()))


def summarize(samples: Iterable[Sample]) -> list[Summary]:
    """Return one summary for each case and subject, in the order in which they first came."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.case, sample.subject), []).append(sample)
    return [
        Summary(
            case=case,
            subject=subject,
            setup=those[0].setup,
            figures={name: Spread.of([each.figures[name] for each in those]) for name in those[0].figures},
            missing=tuple(each.missing for each in those),
            rounds=len(those),
        )
        for (case, subject), those in found.items()
    ]


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the number that this part of the sorted numbers does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
