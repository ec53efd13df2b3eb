"""One prefetch credit for the channels of all partitions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from worker.broker.partitioned import PartitionedChannel

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFETCH = 10
NOW, LONG_AGO = 0.1, 0.3
"""Seconds since a server was asked: within those for which it is waited for, and after."""


def unasked(free: int, asked: Iterable[tuple[int, float]] = (), *, takes_one: bool = False) -> int:
    """What one more channel may use of a credit, while others were asked: for how many, how long ago."""
    above: Any = SimpleNamespace(
        everywhere=[SimpleNamespace(asked_for=each) for each in asked],
        takes_one=takes_one,
        qos=SimpleNamespace(prefetch_count=PREFETCH),
    )
    return PartitionedChannel.unasked(cast("PartitionedChannel", above), free)


def test_what_others_were_asked_for_is_theirs() -> None:
    """Their answers may come at any moment."""
    assert unasked(10) == 10
    assert unasked(10, [(4, NOW), (0, 0.0), (3, NOW)]) == 3
    assert unasked(10, [(10, NOW)]) == 0
    assert unasked(2, [(4, NOW)]) == 0


def test_a_server_that_does_not_answer_keeps_no_credit_from_the_others() -> None:
    """What it was asked for is lent to them, once."""
    assert unasked(10, [(10, LONG_AGO)]) == 10
    assert unasked(10, [(10, LONG_AGO), (4, NOW)]) == 6
    assert unasked(10, [(10, LONG_AGO), (4, LONG_AGO)]) == 6


def test_however_many_servers_are_slow_the_others_are_asked_for_one() -> None:
    """None of them starves; so what is in flight is bounded: by twice the prefetch count and one for each partition."""
    assert unasked(10, [(10, LONG_AGO)] * 2) == 1
    assert unasked(10, [(10, LONG_AGO)] * 5) == 1
    assert unasked(1, [(1, NOW), *[(10, LONG_AGO)] * 5]) == 0
    assert unasked(0, [(10, LONG_AGO)]) == 0


@pytest.mark.parametrize(
    ("asked", "left"),
    [([], 1), ([(1, NOW)], 0), ([(1, LONG_AGO)], 1), ([(1, LONG_AGO), (1, NOW)], 0), ([(1, LONG_AGO)] * 2, 0)],
)
def test_who_takes_one_message_at_a_time_gets_one_more_at_the_most(asked: list[tuple[int, float]], left: int) -> None:
    """From a server that has not answered for long."""
    assert unasked(1, asked, takes_one=True) == left
