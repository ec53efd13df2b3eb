from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from worker.sandbox import received as received_module
from worker.sandbox.contract import Ask
from worker.sandbox.received import MAX_RECENT, Account, ReceivedLog, ReceivedRequest, Totals

if TYPE_CHECKING:
    import pytest

ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
OTHER_ID = "00000000-3e7f-47b9-87fa-681b5d2f54e6"
ASK = Ask(request_id=ID, status="true", org="o", group="g", key="the-key", user_agent="test/1")


def visit(received: ReceivedLog, ask: Ask, answer: int | str, *, at: float = 0.0) -> None:
    """Let a request come, be answered and go."""
    arrived = received.arrived(ask, at=at)
    received.answered(arrived, answer)
    received.left(arrived)


def test_what_became_of_a_request_id_is_told() -> None:
    """How often it came and was delivered, the last vote that was accepted, and each request with its answer."""
    received = ReceivedLog()
    visit(received, ASK, 503, at=1)
    visit(received, ASK, 200, at=2)
    visit(received, replace(ASK, status="false", org="p"), 404, at=3)

    account = received.account(ID)

    assert account == Account(
        request_id=ID,
        received=3,
        delivered=1,
        status="true",
        org="p",
        group="g",
        max_in_flight=1,
        recent=tuple(
            ReceivedRequest(
                at=datetime(1970, 1, 1, 0, 0, at, tzinfo=UTC),
                status=status,
                org=org,
                group="g",
                answer=answer,
                user_agent="test/1",
            )
            for at, status, org, answer in [(1, "true", "o", 503), (2, "true", "o", 200), (3, "false", "p", 404)]
        ),
    )
    assert Account.from_json(account.to_json()) == account


def test_a_request_id_that_never_came_is_all_zeros() -> None:
    """Nothing received is an answer, not an error."""
    assert ReceivedLog().account(ID) == Account(request_id=ID)


def test_a_changed_mind_is_the_last_word() -> None:
    """The status is the one of the last request that was accepted."""
    received = ReceivedLog()
    visit(received, ASK, 200)
    visit(received, replace(ASK, status="false"), 200)

    assert (received.account(ID).status, received.account(ID).delivered) == ("false", 2)


def test_requests_at_the_same_time_are_counted_for_each_request_id() -> None:
    """The most that there ever were at once stays on record after they are over."""
    received = ReceivedLog()
    first, second, other = (received.arrived(ask, at=0) for ask in (ASK, ASK, replace(ASK, request_id=OTHER_ID)))
    during = received.account(ID).in_flight, received.totals().in_flight
    for arrived in (first, second, other):
        received.left(arrived)

    assert during == (2, 3)
    assert (received.account(ID).in_flight, received.account(ID).max_in_flight) == (0, 2)
    assert received.account(OTHER_ID).max_in_flight == 1
    assert received.totals().max_in_flight == 2


def test_a_sender_that_hangs_up_is_gone() -> None:
    """A request that is over without an answer was given up by its sender."""
    received = ReceivedLog()

    received.left(received.arrived(ASK, at=0))

    assert received.totals().answers == {"gone": 1}
    assert received.account(ID).recent[0].answer == "gone"


def test_the_sums_are_told() -> None:
    """Requests, answers, request_ids and those delivered at least once; an id that is no UUID is only counted."""
    received = ReceivedLog()
    visit(received, ASK, 200)
    visit(received, ASK, 200)
    visit(received, replace(ASK, request_id=OTHER_ID), "reset")
    visit(received, replace(ASK, request_id="x"), 400)

    totals = received.totals()

    assert totals == Totals(
        requests=4,
        answers={"200": 2, "reset": 1, "400": 1},
        request_ids=2,
        delivered=1,
        in_flight=0,
        max_in_flight=1,
        untold=1,
    )
    assert Totals.from_json(totals.to_json()) == totals


def test_the_listing_leaves_the_recent_requests_out() -> None:
    """Tens of thousands of accounts fit into one answer."""
    received = ReceivedLog()
    visit(received, ASK, 200)

    (account,) = received.accounts()

    assert (account.received, account.delivered, account.recent) == (1, 1, ())


def test_only_the_most_recent_requests_are_listed() -> None:
    """Memory for one request_id is bounded; the counts go on."""
    received = ReceivedLog()
    for at in range(MAX_RECENT + 5):
        visit(received, ASK, 503, at=at)

    account = received.account(ID)

    assert account.received == MAX_RECENT + 5
    assert [request.at.second for request in account.recent] == list(range(5, MAX_RECENT + 5))


def test_request_ids_beyond_the_bound_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded; nothing that came goes uncounted."""
    monkeypatch.setattr(received_module, "MAX_REQUEST_IDS", 1)
    received = ReceivedLog()
    visit(received, ASK, 200)
    visit(received, replace(ASK, request_id=OTHER_ID), 200)

    assert (received.totals().requests, received.totals().request_ids, received.totals().untold) == (2, 1, 1)


def test_nothing_that_is_told_shows_the_key() -> None:
    """The key is checked and not kept where it could be read."""
    received = ReceivedLog()
    visit(received, ASK, 200)

    assert "the-key" not in repr((received.account(ID).to_json(), received.totals().to_json()))
