"""The release is said in one place."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

from click.testing import CliRunner

from producer import __version__
from tests.support.processes import ROOT
from worker.operations.cli import main


def test_the_package_has_the_release_of_the_code() -> None:
    """The build reads it there, and `pyproject.toml` has none of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "producer/_version.py"
    assert version("aquilax-feedback") == __version__


def test_the_command_says_the_release() -> None:
    """For a report of a bug."""
    assert CliRunner().invoke(main, ["--version"]).output == f"aquilax-feedback, version {__version__}\n"


def test_no_document_says_another_release() -> None:
    """Where an output of the program is shown, it is that of this release."""
    said = re.findall(r"\brelease (\d+\.\d+\.\d+)", (ROOT / "docs" / "operations.md").read_text())

    assert said
    assert set(said) == {__version__}
