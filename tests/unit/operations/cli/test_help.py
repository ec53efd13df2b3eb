from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from worker.operations.cli import main
from worker.operations.cli.dead_letters import dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.operations.cli.lazy_group import LazyGroup


def _names(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    """Every command of a group, and of the groups in it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*before, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _names(command, *before, name)


def _help(*command: str) -> str:
    ended = CliRunner().invoke(main, [*command, "--help"])
    assert ended.exit_code == 0
    return ended.stdout


@pytest.mark.parametrize("command", [(), *_names(main)], ids=" ".join)
def test_help_shows_no_mark_of_its_layout(command: tuple[str, ...]) -> None:
    """The marks that click takes begin with a backslash, and one that is shown has missed its purpose."""
    assert "\\b" not in _help(*command)
    assert "\b" not in _help(*command)


@pytest.mark.parametrize("group", [main, dead_letters], ids=["main", "dead-letters"])
def test_the_list_of_commands_says_of_each_what_it_says_itself(group: LazyGroup) -> None:
    """It is written without importing them, from sentences of its own."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert not command.hidden
        for room in (20, 45, 60, 200):
            said = click.Command(name, help=group.lazy[name].summary).get_short_help_str(room)
            assert said == command.get_short_help_str(room), name


_RUN = """
import sys
from click.testing import CliRunner
from worker.operations.cli import main
from worker.operations.cli.dead_letters import dead_letters
ended = CliRunner().invoke(main, sys.argv[1:])
print(ended.exit_code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", [["--help"], ["dead-letters", "--help"]], ids=" ".join)
def test_the_list_of_commands_imports_none_of_them(command: list[str]) -> None:
    """Who asks what there is waits for nothing else."""
    ended = subprocess.run([sys.executable, "-c", _RUN, *command], capture_output=True, text=True, check=True)
    exit_code, *imported = ended.stdout.split()
    assert exit_code == "0"
    assert {"celery", "pydantic", "redis", "sqlalchemy"}.isdisjoint(imported)


def test_examples_stand_on_lines_of_their_own() -> None:
    """To be copied as they are."""
    lines = [line.strip() for line in _help("send").splitlines()]

    assert "aquilax-feedback send 77e81bbc-3e7f-47b9-87fa-681b5d2f54e6 true \\" in lines
    assert "--org 65dd3e835a669e3347654200 --group 67e86d036e9921509f730483" in lines
    assert "aquilax-feedback send --from-file presses.ndjson" in lines
