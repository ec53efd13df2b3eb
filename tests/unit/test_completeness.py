"""The plugin that fails a run in which not every collected test ran, with xdist and without."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST: Final = """
import pytest
from tests.support.completeness import pytest_configure

@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector, name, obj):
    if name == "test_nine":
        numbered = [f"{name}[{number}]" for number in range(9)]
        return [pytest.Function.from_parent(collector, name=one, callobj=obj, originalname=name) for one in numbered]

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    return True if item.name == "test_lost" else None
"""
"""Two faulty plugins: one gives nine tests the same node id, as schemathesis does; one keeps a test from being run."""

GOOD: Final = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_one(number): pass

@pytest.mark.skip(reason="as it is")
def test_left_out(): pass

def test_not_chosen(): pass
"""
ONE_ID: Final = """
def test_nine(): pass
"""
LOST: Final = """
def test_one(): pass

def test_lost(): pass
"""
FAILS: Final = """
def test_one(): assert False

def test_two(): pass
"""
ALL_AT_ONCE: Final = ()
SPREAD: Final = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


@pytest.fixture(params=[ALL_AT_ONCE, SPREAD], ids=["one process", "xdist"])
def how(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The ways in which `make test` runs tests."""
    options: tuple[str, ...] = request.param
    return options


def run(folder: Path, tests: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run some tests in a project of their own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", *options]
    environment = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_run_in_which_all_ran_passes(tmp_path: Path, how: tuple[str, ...]) -> None:
    """A selection counts as what is collected; a test that skips itself has run."""
    ended = run(tmp_path, GOOD, *how, "-k", "not not_chosen")

    assert ended.returncode == 0, ended.stdout
    assert "3 passed, 1 skipped" in ended.stdout
    assert "did not" not in ended.stdout


def test_several_tests_of_one_node_id_fail_the_run(tmp_path: Path, how: tuple[str, ...]) -> None:
    """Of the nine xdist would run one, and end with status 0."""
    ended = run(tmp_path, ONE_ID, *how)

    assert ended.returncode == 1
    assert "1 node ids stand for several tests each" in ended.stdout
    assert "test_some.py::test_nine" in ended.stdout


def test_a_test_that_was_collected_and_did_not_run_fails_the_run(tmp_path: Path, how: tuple[str, ...]) -> None:
    """All that ran have passed; pytest alone ends with status 0."""
    ended = run(tmp_path, LOST, *how)

    assert ended.returncode == 1
    assert "2 tests were collected and 1 ran: 1 did not" in ended.stdout
    assert "test_some.py::test_lost" in ended.stdout


def test_a_run_that_was_told_to_stop_is_not_blamed_for_it(tmp_path: Path, how: tuple[str, ...]) -> None:
    """`-x` ends at the first failure, and that is what the run says."""
    ended = run(tmp_path, FAILS, *how, "-x")

    assert ended.returncode != 0
    assert "1 failed" in ended.stdout
    assert "did not" not in ended.stdout
