"""Celery, Kombu and the command line are told by strings what to import: each leads to something."""

from __future__ import annotations

import re
from pkgutil import resolve_name

import pytest

from tests.support.processes import ROOT

STRINGS = {
    found
    for source in [*(ROOT / "worker").rglob("*.py"), ROOT / "pyproject.toml"]
    for found in re.findall(r'"(worker(?:\.\w+)+:\w+)"', source.read_text())
}


def test_they_are_found() -> None:
    """Of each kind one: a command, the transport, the pool, the request."""
    assert len(STRINGS) > 20
    assert {"worker.operations.cli:main", "worker.broker.transport:Transport"} <= STRINGS


@pytest.mark.parametrize("name", sorted(STRINGS))
def test_it_can_be_imported(name: str) -> None:
    """No type checker sees into a string."""
    assert resolve_name(name)
