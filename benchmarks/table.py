"""Results as tables, in Markdown that can be read as it is."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from benchmarks.consumers import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sample import Measurement, Spread, Summary

__all__ = ["tables"]

_THOUSAND: Final = 1000
_TEN: Final = 10


def tables(measurement: Measurement, summaries: Sequence[Summary]) -> str:
    """Return a table for each case: the best first, each figure as its median (least-greatest)."""
    ordered = sorted(summaries, key=lambda each: [one.case for one in summaries].index(each.case))
    return "\n".join(_table(measurement, case, list(those)) for case, those in groupby(ordered, lambda one: one.case))


def _table(measurement: Measurement, case: str, those: list[Summary]) -> str:
    if measurement.ranked:
        those.sort(key=lambda each: each.main.median, reverse=measurement.more_is_better)
    own = next((each.main.median for each in those if each.subject == OURS), None)
    names = list(dict.fromkeys(name for each in those for name in each.figures))
    head = ["", "set-up", *names]
    rows = [
        [each.subject, each.setup, *(_jitter(each.figures.get(name)) for name in names)] for each in those
    ]  # fmt: skip - one line for each part
    if own:
        head.append(f"ratio to {OURS}")
        for row, each in zip(rows, those, strict=True):
            row.append(f"{each.main.median / own:.2f}")
    if any(any(each.missing) for each in those):
        head.append("never arrived")
        for row, each in zip(rows, those, strict=True):
            row.append(", ".join(f"{number:,}" for number in each.missing))
    return f"## {measurement.title}: {case}\n\n{_lay_out(head, rows)}\n"


def _lay_out(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in [head, rule, *rows]
    )


def _jitter(jitter: Spread | None) -> str:
    if jitter is None:
        return ""
    if jitter.low == jitter.high:
        return _number(jitter.median)
    return f"{_number(jitter.median)} ({_number(jitter.low)}–{_number(jitter.high)})"  # noqa: RUF001 - a range


def _number(value: float) -> str:
    """Three digits, or as many as stand before the point."""
    if abs(value) >= _THOUSAND / 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= _TEN else f"{value:.2f}"
