from __future__ import annotations

from datetime import timedelta

import pytest

from worker.policy.durations import span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (9.99, "10.0 s"),
        (10, "10 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (11_520, "3 h 12 min"),
        (86_400, "1 d"),
        (183_600, "2 d 3 h"),
        (-90, "1 min 30 s"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, words: str) -> None:
    """Who reads it wants to know whether it is minutes or days; before or after is said around it."""
    assert span(timedelta(seconds=seconds)) == words
