"""What is written of a measurement: a table, the samples as JSON, a chart."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.chart import draw
from benchmarks.sample import summarize
from benchmarks.table import tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.sample import Measurement, Sample

__all__ = ["Report"]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where it is written.

    Attributes:
        output: The folder of the tables and the JSON.
        images: The folder of the charts.
        machine: What `benchmarks.machine.describe` returned.
        command: What was called.
    """

    output: Path
    images: Path
    machine: dict[str, str]
    command: str

    def write(self, measurement: Measurement, samples: Sequence[Sample]) -> str:
        """Write what there is so far, and return its tables."""
        summaries = summarize(samples)
        text = tables(measurement, summaries)
        rounds = max(each.rounds for each in summaries)
        about = "\n".join(f"- {name}: {value}" for name, value in self._about(rounds).items())
        self.output.mkdir(parents=True, exist_ok=True)
        self.images.mkdir(parents=True, exist_ok=True)
        head = f"# {measurement.title}\n\n{measurement.text}\n\nMedians (least–greatest).\n\n"  # noqa: RUF001 - a range
        self._file(measurement, "md").write_text(f"{head}{about}\n\n{text}")
        everything = {"about": self._about(rounds), "samples": [asdict(sample) for sample in samples]}
        self._file(measurement, "json").write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
        draw(measurement, summaries, self.images / f"performance-{measurement.name}.png")
        return text

    def _about(self, rounds: int) -> dict[str, str]:
        return {**self.machine, "rounds": str(rounds), "command": self.command}

    def _file(self, measurement: Measurement, ending: str) -> Path:
        return self.output / f"{measurement.name}.{ending}"
