"""What each Lua script is made of."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import worker
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.scripts import COUNT, TIME, Script

_SHARED = sorted(re.findall(r"^local function (\w+)", TIME + COUNT + MESSAGE + QUEUES, re.MULTILINE))


def _scripts() -> dict[str, Script]:
    root = Path(worker.__file__).parent
    files = [file for file in root.rglob("*.py") if " = Script(" in file.read_text()]
    names = [".".join(("worker", *file.relative_to(root).with_suffix("").parts)) for file in files]
    return {
        f"{name}.{attribute}": script
        for name in names
        for attribute, script in vars(import_module(name)).items()
        if isinstance(script, Script)
    }


@pytest.mark.parametrize("name", sorted(_scripts()))
def test_a_script_has_every_shared_function_that_it_calls(name: str) -> None:
    """Redis says that one is missing only when the line with the call runs."""
    source = re.sub(r"--[^\n]*", "", _scripts()[name].source)

    called = {shared for shared in _SHARED if re.search(rf"(?<![\w.:]){shared}\(", source)}

    assert called == {shared for shared in called if re.search(rf"^local function {shared}\(", source, re.MULTILINE)}


def test_there_are_scripts_and_shared_functions() -> None:
    """So that the test above compares something."""
    assert len(_scripts()) > 30
    assert {"now_ms", "decode", "usable", "list_of"} <= set(_SHARED)
