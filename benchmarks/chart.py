"""Results as a picture: for each case a bar for each subject, with its spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.consumers import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.sample import Measurement, Summary

__all__ = ["draw"]

_OWN: Final = "#1f6feb"
_PEER: Final = "#9aa4b2"
_LIMIT: Final = "#d9dee5"
_LIMITS: Final = ("no queue", "bare")
_WIDTH: Final = 9.0
_BAR: Final = 0.32
"""Inches."""


def draw(measurement: Measurement, summaries: Sequence[Summary], path: Path) -> None:
    """Write the chart of the first figure to a PNG file."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and not needed before the end

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the choice of what it draws with

    cases: dict[str, list[Summary]] = {}
    for each in summaries:
        cases.setdefault(each.case, []).append(each)
    heights = [_BAR * len(those) + 0.6 for those in cases.values()]
    figure, panels = plt.subplots(
        len(cases), figsize=(_WIDTH, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for panel, (case, those) in zip(panels[:, 0], cases.items(), strict=True):
        if measurement.ranked:
            those.sort(key=lambda each: each.main.median, reverse=measurement.more_is_better)
        those.reverse()  # the first bar is drawn at the bottom
        middles = [each.main.median for each in those]
        jitter = [
            [each.main.median - each.main.low for each in those],
            [each.main.high - each.main.median for each in those],
        ]
        bars = panel.barh(
            [each.subject for each in those],
            middles,
            xerr=jitter,
            color=[_colour(each.subject) for each in those],
            error_kw={"ecolor": "#57606a", "capsize": 2},
        )
        panel.bar_label(bars, [f"{middle:,.0f}" if middle >= 100 else f"{middle:.1f}" for middle in middles], padding=4)  # noqa: PLR2004 - three digits
        panel.margins(x=0.12)
        panel.set_title(f"{case}: {next(iter(those[0].figures))}", loc="left", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _colour(subject: str) -> str:
    if subject.startswith(OURS) or "worker" in subject:
        return _OWN
    return _LIMIT if subject.startswith(_LIMITS) else _PEER
