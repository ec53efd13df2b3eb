"""``aquilax-feedback doctor``: what is wrong, and what to do about it."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from worker.operations.cli.output import json_text, say
from worker.operations.doctor.examination import examine
from worker.operations.doctor.finding import Level
from worker.settings import flower_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.doctor.examination import Examination

__all__ = ["doctor"]

_LEVEL_COLUMN: Final = 8
_CHECK_COLUMN: Final = 21


def _flower(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else flower_url(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "--flower", metavar="URL", callback=_flower, help="Where Flower is, if not where FEEDBACK_FLOWER_URL says."
)
@click.option(
    "--probe-key",
    is_flag=True,
    help="Also ask AquilaX whether it takes the key, by a request that names no answer and says nothing on it.",
)
@click.option("--strict", is_flag=True, help="Exit with status 1 for a yellow line, too.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(flower: str | None, *, probe_key: bool, strict: bool, as_json: bool) -> None:
    """Look at everything, and say what is wrong and what to do: settings, Redis, queue, database, AquilaX, workers.

    It changes nothing, gives no feedback, and takes 15 seconds at most. A line is green, yellow (look at it soon) or
    red (feedback is not delivered because of it, or may be lost). The exit status is 1 if any is red.
    """
    examination = examine(flower=flower, probe_key=probe_key)
    status = 1 if examination.level is Level.RED or (strict and examination.level is Level.YELLOW) else 0
    if as_json:
        findings = [asdict(finding) for finding in examination.findings]
        say(json_text({"status": status, "level": examination.level, "findings": findings}, indent=2))
    else:
        for line in _lines(examination):
            say(line, color=False if os.environ.get("NO_COLOR") else None)
    sys.exit(status)


def _lines(examination: Examination) -> Iterator[str]:
    for finding in examination.findings:
        level = click.style(f"{finding.level:<{_LEVEL_COLUMN}}", fg=finding.level.value, bold=True)
        yield f"{level}{finding.check:<{_CHECK_COLUMN}}{finding.summary}"
        if finding.fix:
            yield f"{'':<{_LEVEL_COLUMN + _CHECK_COLUMN}}→ {finding.fix}"
    levels = [finding.level for finding in examination.findings]
    yield ", ".join(f"{levels.count(level)} {level}" for level in (Level.RED, Level.YELLOW, Level.GREEN))
