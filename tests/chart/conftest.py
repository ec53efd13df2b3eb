"""The chart, once for all its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.chart import EVERYTHING, Chart, Objects, chart_tool

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    """Helm, and the schemas."""
    with (tmp_path_factory.mktemp("chart") / "tool.log").open("w") as log, chart_tool(log) as tool:
        yield tool


@pytest.fixture(scope="session")
def default(chart: Chart) -> Objects:
    """Rendered with the secrets' names and no other value."""
    return chart.render()


@pytest.fixture(scope="session")
def everything(chart: Chart) -> Objects:
    """Rendered with all that can be on at once."""
    return chart.render(EVERYTHING)
