"""The history of an event's attempts: what it keeps, how large it gets, and that it never refuses a message."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.policy.attempt import MAX_ATTEMPTS_KEPT, Attempt, read_attempts, with_attempt
from worker.policy.classification import Response
from worker.policy.result import ResultKind

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
BUSY = Response(
    status=503, text='{"code": 503, "message": "Downstream service unavailable"}', took=timedelta(seconds=0.25)
)

responses = st.builds(
    Response,
    status=st.none() | st.integers(min_value=100, max_value=999),
    text=st.text(max_size=4096),
    took=st.timedeltas(min_value=timedelta(), max_value=timedelta(minutes=5)),
)


def attempt(response: Response = BUSY, *, minutes: int = 0, worker: str = "worker@host") -> Attempt:
    """An attempt that was retried."""
    return Attempt.of(response, at=NOW + timedelta(minutes=minutes), worker=worker, then=ResultKind.RETRY)


def test_an_attempt_says_when_who_what_and_how_long() -> None:
    """Of AquilaX's JSON the message is kept."""
    assert attempt().to_record() == {
        "at": "2026-01-31T12:00:00+00:00",
        "worker": "worker@host",
        "status": 503,
        "latency_seconds": 0.25,
        "text": "Downstream service unavailable",
        "then": "retry",
    }


@pytest.mark.parametrize(
    ("response", "summary"),
    [
        (BUSY, "503 Downstream service unavailable"),
        (Response(status=503), "503 Service Unavailable"),
        (Response(status=599), "599"),
        (Response(status=None, text="timeout: no answer within 10 s"), "timeout: no answer within 10 s"),
        (Response(status=None), "no answer"),
    ],
)
def test_its_summary_is_that_of_the_response(response: Response, summary: str) -> None:
    """As the log has it."""
    assert attempt(response).summary == summary == response.summary


@given(response=responses, worker=st.text(max_size=300))
def test_an_attempt_comes_back_from_its_record_as_it_was_and_stays_small(response: Response, worker: str) -> None:
    """Whatever AquilaX responds, and however JSON has to spell it."""
    made = attempt(response, worker=worker)
    spelt = json.dumps(made.to_record())

    assert read_attempts([json.loads(spelt)]) == (made,)
    assert len(spelt) <= 500
    assert made.text.isprintable()


def test_the_last_ten_are_kept() -> None:
    """An event that is retried for days takes no more room than one that is retried for an hour."""
    history: tuple[Attempt, ...] = ()
    for number in range(25):
        history = with_attempt(history, attempt(minutes=number))

    assert [one.at.minute for one in history] == list(range(15, 25))
    assert len(read_attempts([one.to_record() for one in history] * 2)) == MAX_ATTEMPTS_KEPT


GOOD = attempt().to_record()


@pytest.mark.parametrize(
    "record",
    [
        None,
        "2026",
        {},
        GOOD | {"at": "yesterday"},
        GOOD | {"at": "2026-01-31T12:00:00"},
        GOOD | {"at": 5},
        GOOD | {"status": "503"},
        GOOD | {"status": True},
        GOOD | {"status": 10**6},
        GOOD | {"latency_seconds": -1},
        GOOD | {"latency_seconds": float("nan")},
        GOOD | {"latency_seconds": float("inf")},
        GOOD | {"latency_seconds": "0.2"},
        GOOD | {"then": "lost"},
    ],
)
def test_what_is_no_attempt_is_left_out(record: Any) -> None:
    """Operators miss a line; the event is delivered all the same."""
    assert read_attempts([record, GOOD]) == (attempt(),)


@pytest.mark.parametrize("records", [None, {}, "[]", 7])
def test_what_is_no_list_is_no_history(records: object) -> None:
    """Likewise."""
    assert read_attempts(records) == ()
