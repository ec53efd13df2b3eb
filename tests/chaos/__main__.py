"""``python -m tests.chaos``: hurt the system in every way, and count what is lost."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console

from tests.chaos import report
from tests.chaos.execute import execute
from tests.chaos.page import TEXT
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.soak import soak

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.outcome import Outcome
    from tests.chaos.scenario import Scenario

_WIDTH: Final = 200
"""Characters of a line where the output is no terminal."""

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"


def runs(names: tuple[str, ...], *, short: bool, plain: bool) -> Iterator[tuple[Scenario, str, bool]]:
    """Yield the scenario, the make of Redis and whether it is plain Celery that is hurt, for each run."""
    for scenario in SCENARIOS:
        if names and not any(name in scenario.name for name in names):
            continue
        if short and not scenario.short:
            continue
        for make in scenario.makes[: 1 if short else None]:
            yield scenario, make, False
        if plain and scenario.plain:
            yield scenario, scenario.makes[0], True


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Say what there is, and do nothing.")
@click.option("--short", is_flag=True, help="Few events, and only what is quick.")
@click.option("--plain/--no-plain", default=True, help="Also hurt plain Celery, for comparison.")
@click.option("--only-plain", is_flag=True, help="Hurt nothing but plain Celery.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at once.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write every result into this file.")
@click.option("--page", is_flag=True, help="Write docs/chaos.md.")
@click.option("--soak", "soak_minutes", type=float, help="Only this: full load for so many minutes, a fault each 20 s.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where runs write their data and logs.")
def main(
    names: tuple[str, ...],
    *,
    only_list: bool,
    short: bool,
    plain: bool,
    only_plain: bool,
    jobs: int,
    json_file: Path | None,
    page: bool,
    soak_minutes: float | None,
    folder: Path | None,
) -> None:
    """Hurt the system in every way, and compare what Redis acknowledged with what AquilaX and the dead letters have.

    NAMES are parts of scenarios' names; all are run if there are none.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    chosen = list(runs(names, short=short, plain=(plain or only_plain) and not short))
    chosen = [each for each in chosen if each[2] or not only_plain]
    if soak_minutes is not None:
        chosen = [(soak(soak_minutes), "valkey", False)]
    if only_list:
        for scenario, make, is_plain in chosen:
            click.echo(f"{scenario.name} ({make}{', plain Celery' if is_plain else ''})")
        return
    place = folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    console.print(f"{len(chosen)} runs; data and logs: {place}", highlight=False)

    def one(number: int) -> Outcome:
        scenario, make, is_plain = chosen[number]
        outcome = execute(scenario, make, folder=place / f"{number:02d}", short=short, plain=is_plain)
        state = "[red]failed[/]" if outcome.failed else "[yellow]plain[/]" if is_plain else "[green]held[/]"
        words = f"{state} {outcome.scenario}, {outcome.server}: {outcome.events:,} events, {len(outcome.lost)} lost"
        console.print(f"{time.strftime('%H:%M:%S')} {words}, {outcome.seconds:.0f} s", highlight=False, soft_wrap=True)
        for failure in outcome.failures:
            console.print(f"   {failure}", highlight=False, markup=False, soft_wrap=True)
        return outcome

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(one, range(len(chosen))))
    report.show(console, outcomes)
    console.print(f"{(time.monotonic() - began) / 60:.1f} minutes", highlight=False)
    if json_file:
        report.write_json(json_file, outcomes)
    if page:
        report.write_page(PAGE, outcomes, text=TEXT)
    sys.exit(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    main()
