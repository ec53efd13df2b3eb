"""The doctor on a local stack: run as a command, and what it finds that is not green."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from tests.support.environment import clean_environment
from worker.operations.cli import main
from worker.sandbox.stack import LocalStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


__all__ = ["Wrong", "a_stack", "doctor", "findings_not_green", "is_only_finding", "use_settings_of"]


Wrong = dict[str, tuple[str, str]]
"""What is not green: the check, its level and the fix."""


@contextmanager
def a_stack(folder: Path) -> Iterator[LocalStack]:
    """A Redis and a database, with a key for AquilaX."""
    with LocalStack(folder=folder, environment=clean_environment()) as stack:
        stack.start_broker()
        stack.create_database()
        stack.environment |= {"AQUILAX_API_KEY": "t0p-s3cret-key", "FEEDBACK_HEARTBEAT_FILE": f"{folder}/heartbeat"}
        yield stack


def use_settings_of(stack: LocalStack, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give this process the settings of a stack, in a folder of its own."""
    monkeypatch.chdir(folder)
    for name, value in stack.environment.items():
        if name.startswith(("AQUILAX_", "FEEDBACK_")):
            monkeypatch.setenv(name, value)


def doctor(*options: str, status: int) -> dict[str, Any]:
    """Run the command, which ends with this status, and return its JSON."""
    ended = CliRunner().invoke(main, ["doctor", "--json", *options])
    record: dict[str, Any] = json.loads(ended.stdout)
    bad = [finding for finding in record["findings"] if finding["level"] != "green"]
    assert (ended.exit_code, record["status"]) == (status, status), json.dumps(bad, indent=1)
    return record


def findings_not_green(*options: str, status: int = 1) -> Wrong:
    """What the doctor finds that is not green."""
    found = doctor(*options, status=status)["findings"]
    return {one["check"]: (one["level"], one["fix"]) for one in found if one["level"] != "green"}


def is_only_finding(wrong: Wrong, check: str, level: str, fix: str) -> None:
    """Whether this is all that is wrong, and the fix is told."""
    assert {name: found[0] for name, found in wrong.items()} == {check: level}, wrong
    assert fix in wrong[check][1]
