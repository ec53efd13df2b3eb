"""The books of a run balance only if every accepted event came to exactly one end."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from worker.clients.redis.keys import CountField
from worker.policy.retry import Reason
from worker.sandbox.received import Account
from worker.sandbox.run_balance import RunBalance, wrong_votes
from worker.sandbox.workload import build_workload

COUNTS = dict.fromkeys(CountField, 0) | {
    CountField.DELIVERED: 7,
    CountField.DUPLICATE: 2,
    CountField.STALE: 1,
    CountField.RETRIED: 40,
}
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_the_books_balance_when_every_event_has_ended() -> None:
    """Delivered, duplicate, stale or dead; how often it was retried does not count."""
    books = RunBalance(accepted=13, counts=COUNTS, dead={Reason.REJECTED: 2, Reason.EXHAUSTED: 1})

    assert books.balance
    assert books.equation == "13 accepted = 7 delivered + 2 duplicate + 1 stale + 3 dead"


@pytest.mark.parametrize("accepted", [12, 14])
def test_the_books_do_not_balance_with_one_too_few_or_too_many(accepted: int) -> None:
    """One lost, or one counted twice."""
    books = RunBalance(accepted=accepted, counts=COUNTS, dead={Reason.REJECTED: 3})

    assert not books.balance
    assert "≠" in books.equation


def test_the_books_do_not_balance_while_a_replay_is_under_way() -> None:
    """A replaying row has not come to its end."""
    assert not RunBalance(accepted=10, counts=COUNTS, replaying=1).balance


def test_a_last_word_that_aquilax_does_not_hold_is_found() -> None:
    """Missing altogether, or the opposite of what the person said last."""
    said = {"a": True, "b": False, "c": True}
    received = {"a": Account(request_id="a", status="true"), "b": Account(request_id="b", status="true")}

    assert wrong_votes(said, received) == ["b", "c"]


def test_a_crowd_says_its_last_word_last() -> None:
    """The status expected of AquilaX is that of the latest press, whatever the order in which presses are heard."""
    crowd = build_workload(2000, began=NOW, chance=random.Random(3), forbidden_org="x")

    latest = {event.request_id: event for event in sorted(crowd.events, key=lambda event: event.occurred_at)}
    assert crowd.last_votes == {request_id: event.status for request_id, event in latest.items()}


def test_a_crowd_repeats_changes_its_mind_and_is_late() -> None:
    """Every kind of second press is in it, and the same seed gathers the same crowd."""
    crowd = build_workload(2000, began=NOW, chance=random.Random(3), forbidden_org="x")
    first = {event.request_id: event for event in crowd.events[:2000]}

    kinds = Counter(
        (event.status == first[event.request_id].status, event.occurred_at > first[event.request_id].occurred_at)
        for event in crowd.events[2000:]
    )

    assert set(kinds) == {(True, True), (False, True), (False, False)}
    assert crowd == build_workload(2000, began=NOW, chance=random.Random(3), forbidden_org="x")
    assert sum(event.org == "x" for event in crowd.events) > 0
