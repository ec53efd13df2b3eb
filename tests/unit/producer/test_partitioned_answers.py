"""What several primaries answer to a ping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from producer import BrokerUnavailable
from producer._partitioned import require_answers

if TYPE_CHECKING:
    from producer._routing import Outcome

AWAY = BrokerUnavailable("it is away")


@pytest.mark.parametrize("outcomes", [{0: b"+PONG", 5: AWAY}, {0: b"-LOADING it reads its data", 5: b":0"}])
def test_one_that_answers_is_enough_where_that_was_asked_for(outcomes: dict[int, Outcome]) -> None:
    """Its events are taken; else every primary has to answer."""
    require_answers(outcomes, anywhere=True)
    with pytest.raises(BrokerUnavailable):
        require_answers(outcomes, anywhere=False)


@pytest.mark.parametrize("anywhere", [True, False])
def test_none_that_answers_is_too_few(anywhere: bool) -> None:
    """The first error is told."""
    with pytest.raises(BrokerUnavailable, match="it is away"):
        require_answers({0: AWAY, 5: b"-LOADING it reads its data"}, anywhere=anywhere)


def test_all_that_answer_are_enough() -> None:
    """Whatever the reply is, as long as it is no refusal."""
    require_answers({0: b"+PONG", 5: b":0"}, anywhere=False)
