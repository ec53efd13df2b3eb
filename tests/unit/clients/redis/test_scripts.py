"""What each Lua script is made of."""

from __future__ import annotations

import re

import pytest

from tests.support.scripts import all_scripts
from worker.broker.scripts import MESSAGE, QUEUES
from worker.clients.redis.scripts import COUNT, TIME

_SHARED = sorted(re.findall(r"^local function (\w+)", TIME + COUNT + MESSAGE + QUEUES, re.MULTILINE))


@pytest.mark.parametrize("name", sorted(all_scripts()))
def test_a_script_has_every_shared_function_that_it_calls(name: str) -> None:
    """Redis says that one is missing only when the line with the call runs."""
    source = re.sub(r"--[^\n]*", "", all_scripts()[name].source)

    called = {shared for shared in _SHARED if re.search(rf"(?<![\w.:]){shared}\(", source)}

    assert called == {shared for shared in called if re.search(rf"^local function {shared}\(", source, re.MULTILINE)}


def test_there_are_scripts_and_shared_functions() -> None:
    """So that the test above compares something."""
    assert len(all_scripts()) > 30
    assert {"now_ms", "decode", "usable", "places_from"} <= set(_SHARED)
