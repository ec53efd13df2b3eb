from __future__ import annotations

import pytest

from worker.dashboard.choosing import CANARY, RATE, Pacing
from worker.dashboard.handler import Refused


def test_a_pace_is_read_from_a_form_and_from_json() -> None:
    """Nothing said is no limit; where nobody was asked, it is a gentle pace with a canary."""
    assert Pacing() == Pacing(rate=RATE, canary=CANARY)
    assert Pacing.read("2.5", "3") == Pacing.read(2.5, 3) == Pacing(rate=2.5, canary=3)
    assert Pacing.read("", "") == Pacing.read(None, None) == Pacing(rate=None, canary=0)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "x", "1e9", True, []])
def test_a_rate_that_is_none_is_refused(rate: object) -> None:
    """With what is expected."""
    with pytest.raises(Refused, match="rate"):
        Pacing.read(rate, "")


@pytest.mark.parametrize("canary", ["-1", "1.5", "x", "10001", "²"])
def test_a_canary_that_is_none_is_refused(canary: str) -> None:
    """With what is expected."""
    with pytest.raises(Refused, match="canary"):
        Pacing.read("", canary)
