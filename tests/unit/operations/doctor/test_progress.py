"""A worker that answers and brings nothing to an end is found."""

from __future__ import annotations

from typing import Any

import pytest

from worker.operations.doctor.fleet import Fleet
from worker.operations.doctor.workers import look_at_progress
from worker.runtime.inspect_stats import ABOUT, IN_FLIGHT
from worker.settings import load_settings

SETTINGS = load_settings(_env_file=None)
LONG = 2 * SETTINGS.feedback_request_timeout.total_seconds() + 61


def found(*held: Any) -> list[tuple[str, str]]:
    """What is found of workers that tell this of what they hold."""
    stats = {f"w{number}": {ABOUT: {IN_FLIGHT: one}} for number, one in enumerate(held)}
    return [
        (finding.level.value, finding.summary) for finding in look_at_progress(Fleet(stats=stats, queues={}), SETTINGS)
    ]


def test_a_worker_that_holds_messages_and_ends_none_is_red() -> None:
    """Its lease is renewed, and it answers: nothing else would show it."""
    (finding,) = found({"messages": 120, "without_end": LONG}, {"messages": 1, "without_end": 2.5})

    assert finding[0] == "red"
    assert finding[1].startswith("w0 holds 120 messages, and none has ended for ")


@pytest.mark.parametrize(
    "held", [{"messages": 0, "without_end": LONG}, {"messages": 120, "without_end": LONG - 10}, None, 5], ids=repr
)
def test_any_other_is_green(held: Any) -> None:
    """One that holds nothing, has just ended something, or does not tell."""
    assert [level for level, _ in found(held)] == ["green"]


def test_nothing_is_said_of_no_worker() -> None:
    """That none answers is told elsewhere."""
    assert found() == []
