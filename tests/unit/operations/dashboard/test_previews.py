from __future__ import annotations

import pytest

from worker.operations.dashboard.handler import RequestRefused
from worker.operations.dashboard.previews import CANARY, RATE, Pacing, read_canary, read_count, read_rate


def test_a_pace_that_is_not_said_is_no_limit() -> None:
    """The default is a gentle pace with a canary."""
    assert Pacing() == Pacing(rate=RATE, canary=CANARY)
    assert (read_rate("2.5"), read_canary("3"), read_count("4")) == (2.5, 3, 4)
    assert (read_rate(None), read_canary(None), read_count(None)) == (None, 0, None)


@pytest.mark.parametrize("rate", ["", "0", "0.0001", "-1", "nan", "inf", "x", "1e9", "1_0", "๕", "True"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    """With what is expected."""
    with pytest.raises(RequestRefused, match="rate"):
        read_rate(rate)


@pytest.mark.parametrize("canary", ["", "-1", "1.5", "x", "10001", "²", "9" * 5000])
def test_a_canary_that_is_none_is_refused(canary: str) -> None:
    """With what is expected."""
    with pytest.raises(RequestRefused, match="canary"):
        read_canary(canary)
