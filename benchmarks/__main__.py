"""``python -m benchmarks``: measure, and write tables, JSON and charts."""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.badday import BADDAY, badday
from benchmarks.cluster import CLUSTER, cluster
from benchmarks.databases import KINDS
from benchmarks.days import BAD_DAYS, GOOD
from benchmarks.deliver import DELIVER, deliver
from benchmarks.enqueue import ENQUEUE, enqueue
from benchmarks.fairness import FAIRNESS, fairness
from benchmarks.gateway import GATEWAY, gateway
from benchmarks.latency import LATENCY, latency
from benchmarks.machine import describe
from benchmarks.memory import MEMORY, memory
from benchmarks.outbox import OUTBOX, outbox_costs
from benchmarks.plan import MILLION, Plan
from benchmarks.report import Report
from benchmarks.scale import SCALE, scale
from benchmarks.spool import SPOOL, spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.sample import Measurement, Sample

_ROOT: Final = Path(__file__).resolve().parent.parent
_MEASUREMENTS: Final[dict[str, tuple[Measurement, Callable[[Plan], Iterator[Sample]]]]] = {
    "enqueue": (ENQUEUE, enqueue),
    "gateway": (GATEWAY, gateway),
    "deliver": (DELIVER, deliver),
    "badday": (BADDAY, badday),
    "latency": (LATENCY, latency),
    "fairness": (FAIRNESS, fairness),
    "scale": (SCALE, scale),
    "memory": (MEMORY, memory),
    "outbox": (OUTBOX, outbox_costs),
    "spool": (SPOOL, spool),
    "cluster": (CLUSTER, cluster),
}
_DAYS: Final = [day.name for day in (GOOD, *BAD_DAYS)]

_some = partial(click.option, type=int, multiple=True, show_default=True)
"""An option that may be given several times."""


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([*_MEASUREMENTS, "all"]))
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="Through all subjects.")
@click.option("--events", type=click.IntRange(200), default=20_000, show_default=True, help="Of a subject in a round.")
@click.option("--subjects", default="", help="Only those with one of these, separated by commas, in their names.")
@_some("--latency", "latencies", default=(0, 50, 200), help="Milliseconds of the API, in `deliver`.")
@_some("--backlog", "backlogs", default=(1_000, 100_000), help="Events in the queue, in `scale`.")
@_some("--queued", "queued", default=(100_000,), help="Events, in `memory` and `spool`.")
@click.option("--day", "days", type=click.Choice(_DAYS), multiple=True, default=_DAYS, help="In `badday`; all if none.")
@click.option(
    "--database", "databases", type=click.Choice(list(KINDS)), multiple=True, default=("sqlite",), show_default=True
)
@click.option("--million", is_flag=True, help="Also a million events, in `scale`, `memory` and `spool`.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="For all files, instead of docs/performance and docs/images."
)
def main(
    names: tuple[str, ...],
    *,
    rounds: int,
    events: int,
    subjects: str,
    latencies: tuple[int, ...],
    backlogs: tuple[int, ...],
    queued: tuple[int, ...],
    days: tuple[str, ...],
    databases: tuple[str, ...],
    million: bool,
    output: Path | None,
) -> None:
    """Measure what NAMES say, or everything, round by round, and write all results again after each round."""
    _require_urllib3()
    report = Report(
        output=output or _ROOT / "docs" / "performance",
        images=output or _ROOT / "docs" / "images",
        machine=describe(),
        command=f"python -m benchmarks {' '.join(sys.argv[1:])}",
    )
    more = (MILLION,) if million else ()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        plan = Plan(
            rounds=rounds,
            events=events,
            latencies=latencies,
            backlogs=(*backlogs, *more),
            queued=(*queued, *more),
            days=days,
            databases=databases,
            subjects=tuple(part.strip() for part in subjects.split(",") if part.strip()),
            snapshots=Path(folder),
            tell=_tell,
        )
        for name, (measurement, measure) in _MEASUREMENTS.items():
            if not names or name in names or "all" in names:
                _run(measurement, measure(plan), report)


def _run(measurement: Measurement, samples: Iterator[Sample], report: Report) -> None:
    """Measure; whatever there is when a subject comes again is written, so that a run cut short is not in vain."""
    found: list[Sample] = []
    for sample in samples:
        if found and (sample.case, sample.subject) == (found[0].case, found[0].subject):
            report.write(measurement, found)
        found.append(sample)
        _tell(f"    {next(iter(sample.figures.values())):,.1f} {next(iter(sample.figures))}, {sample.missing} missing")
    if found:
        click.echo(f"\n{report.write(measurement, found)}")


def _tell(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


def _require_urllib3() -> None:
    """Refuse to measure `requests` on what another package has put in the place of urllib3, as niquests does."""
    owners = set(packages_distributions().get("urllib3", ()))
    if owners != {"urllib3"}:
        raise click.ClickException(f"urllib3 was installed by {sorted(owners)}: use a clean environment")


if __name__ == "__main__":
    main()
