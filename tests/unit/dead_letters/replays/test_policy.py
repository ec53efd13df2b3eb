from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from worker.database.replay_models import ACTIVE, ReplayState
from worker.dead_letters.replays.policy import (
    Await,
    Become,
    Close,
    Death,
    Enqueue,
    Move,
    ReplayOrder,
    Rest,
    Standing,
    after_order,
    look_again,
    next_due,
    next_move,
    rows_at_once,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEATH = Death(dead_letter_id=7, same_fingerprint=True, summary="rejected 404: nope")
NEW = Standing(
    state=ReplayState.PLANNED, canary=0, canary_until=0, total=10, to_go=True, under_way=False, delivered=False
)
CANARY = replace(NEW, state=ReplayState.CANARY, canary=2, canary_until=2)
RUNNING = replace(NEW, state=ReplayState.RUNNING)
GONE: dict[str, Any] = {"to_go": False}


@pytest.mark.parametrize(
    ("plan", "move"),
    [
        (NEW, Become(state=ReplayState.RUNNING, canary_until=0)),
        (replace(NEW, canary=2, canary_until=2), Become(state=ReplayState.CANARY, canary_until=2)),
        (RUNNING, Enqueue()),
        (replace(RUNNING, under_way=True), Enqueue()),
        (replace(RUNNING, **GONE, under_way=True), Await()),
        (replace(RUNNING, **GONE), Become(state=ReplayState.FINISHED, canary_until=0)),
        (replace(NEW, state=ReplayState.PAUSED), Rest()),
        *((replace(NEW, state=state), Close()) for state in ReplayState if state not in ACTIVE),
    ],
)
def test_a_plan_sends_its_rows_and_awaits_their_outcomes(plan: Standing, move: Move) -> None:
    """Once all rows have gone, and all outcomes have come, it is finished."""
    assert next_move(plan) == move


@pytest.mark.parametrize(
    ("plan", "move"),
    [
        (CANARY, Enqueue()),
        (replace(CANARY, **GONE, under_way=True), Await()),
        (replace(CANARY, **GONE, under_way=True, delivered=True), Await()),
        (replace(CANARY, **GONE, delivered=True), Become(state=ReplayState.RUNNING, canary_until=2)),
        (replace(CANARY, **GONE), Become(state=ReplayState.CANARY, canary_until=4)),
        (replace(CANARY, **GONE, canary_until=9), Become(state=ReplayState.CANARY, canary_until=10)),
        (replace(CANARY, **GONE, canary_until=10), Become(state=ReplayState.RUNNING, canary_until=10)),
    ],
)
def test_the_rest_goes_only_when_the_canaries_were_delivered(plan: Standing, move: Move) -> None:
    """All outcomes must have come; where none was sent after all, others become canaries."""
    assert next_move(plan) == move


@pytest.mark.parametrize("more", [{}, {"to_go": False, "under_way": True}, {"to_go": False, "delivered": True}])
@pytest.mark.parametrize(("same", "of"), [(True, "the same cause"), (False, "another cause")])
def test_a_canary_that_died_again_stops_the_plan_at_once(more: dict[str, Any], *, same: bool, of: str) -> None:
    """Whatever became of the others, and of whatever cause it died: it was not delivered."""
    plan = replace(CANARY, died=replace(DEATH, same_fingerprint=same), **more)

    because = f"row 7, a canary, died again, of {of}: rejected 404: nope"
    assert next_move(plan) == Become(state=ReplayState.STOPPED, canary_until=2, because=because)


def test_a_plan_that_has_ended_takes_no_order() -> None:
    """And only a paused one is resumed."""
    assert not [state for state in ReplayOrder.cancel().allowed if state not in ACTIVE]
    assert ReplayOrder.resume().allowed == {ReplayState.PAUSED}
    assert ReplayOrder.pause().allowed == ReplayOrder.cancel().allowed - {ReplayState.PAUSED}


@pytest.mark.parametrize(
    ("canary", "started", "passed", "state"),
    [
        (0, False, False, ReplayState.PLANNED),
        (2, False, False, ReplayState.PLANNED),
        (0, True, False, ReplayState.RUNNING),
        (2, True, False, ReplayState.CANARY),
        (2, True, True, ReplayState.RUNNING),
    ],
)
def test_a_resumed_plan_goes_on_where_it_was(canary: int, *, started: bool, passed: bool, state: ReplayState) -> None:
    """A pause opens no way past the canaries."""
    assert after_order(ReplayOrder.resume(), canary=canary, started=started, canary_passed=passed) is state


def test_pause_and_cancel_mean_what_they_say() -> None:
    """Whatever the plan was at."""
    assert after_order(ReplayOrder.pause(), canary=2, started=True, canary_passed=False) is ReplayState.PAUSED
    assert after_order(ReplayOrder.cancel(), canary=2, started=True, canary_passed=False) is ReplayState.CANCELLED


@pytest.mark.parametrize(("rate", "rows"), [(None, 1000), (0.1, 1), (1, 1), (10, 5), (5000, 1000)])
def test_a_step_takes_half_a_seconds_worth(rate: float | None, rows: int) -> None:
    """One row at least, and a thousand at most."""
    assert rows_at_once(rate) == rows


@pytest.mark.parametrize(
    ("due", "late", "expected"),
    [(None, 0.0, 0.5), (NOON, 0.0, 0.5), (NOON, 0.2, 0.3), (NOON, 60.0, 0.0)],
    ids=["the first", "in time", "a little late", "very late"],
)
def test_a_late_step_does_not_slow_the_rate(due: datetime | None, late: float, expected: float) -> None:
    """What it is late it makes good; but after a long wait there is no burst."""
    now = NOON + timedelta(seconds=late)

    assert next_due(due=due, now=now, went=5, rate=10) - now == timedelta(seconds=expected)
    assert next_due(due=due, now=now, went=500, rate=None) == now


@pytest.mark.parametrize(("since", "wait"), [(None, 0.25), (1, 0.25), (8, 2), (10_000, 30)])
def test_outcomes_are_looked_for_more_seldom_the_longer_nothing_went(since: float | None, wait: float) -> None:
    """From four times a second to every half minute."""
    moved_at = None if since is None else NOON - timedelta(seconds=since)

    assert look_again(moved_at=moved_at, now=NOON) == timedelta(seconds=wait)
