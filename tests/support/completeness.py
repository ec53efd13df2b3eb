"""A pytest plugin: every test that was collected runs, or the run fails, whatever the tests themselves say.

pytest and pytest-xdist end with status 0 although a collected test has not run. xdist keeps its work by node id, so of
several tests with one node id it runs one. The count is that of the process that reports: with xdist, its controller.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Completeness", "pytest_configure"]

_SHOWN: Final = 10


def pytest_configure(config: pytest.Config) -> None:
    """Let no test be left out unnoticed; with xdist the controller sees to it, which hears of all tests."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Completeness(), "completeness")


class Completeness:
    """Compares what was collected with what ran."""

    def __init__(self) -> None:
        self._collected: Counter[str] = Counter()
        self._ran: Counter[str] = Counter()
        self._stopped = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what was chosen, where the tests run in this process."""
        self._note([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: Sequence[str]) -> None:  # noqa: ARG002 - xdist's
        """Note what was chosen, where others run the tests: each of them chooses the same."""
        self._note(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test at its end; one that was skipped has an end, too."""
        if report.when == "teardown":
            self._ran[report.nodeid] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if anything is missing. A run that was stopped (-x, Ctrl-C) says so itself."""
        went_through = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        asked_to_stop = session.shouldstop or session.shouldfail or session.config.option.collectonly
        self._stopped = bool(asked_to_stop or not went_through)
        if self.problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # Any: the class is no public one of pytest's
        """Say what is missing, with names."""
        for problem, names in self.problems.items():
            terminalreporter.section(problem, red=True, bold=True)
            for name in names[:_SHOWN]:
                terminalreporter.line(name)
            if len(names) > _SHOWN:
                terminalreporter.line(f"… and {len(names) - _SHOWN} more")

    @property
    def problems(self) -> dict[str, list[str]]:
        """What is wrong, with the node ids that it is wrong with."""
        shared = [name for name, times in self._collected.items() if times > 1]
        lost = [] if self._stopped else list((self._collected - self._ran).elements())
        collected, ran = self._collected.total(), self._ran.total()
        found = {
            f"{len(shared)} node ids stand for several tests each": shared,
            f"{collected} tests were collected and {ran} ran: {len(lost)} did not": lost,
        }
        return {problem: names for problem, names in found.items() if names}

    def _note(self, ids: Sequence[str]) -> None:
        self._collected |= Counter(ids)
