"""What is asked of the history, and what it says of AquilaX now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest

from worker.accounting.history.fields import LATENCY, ResponseField
from worker.accounting.history.latency import bucket_of
from worker.accounting.history.reading import History, HistoryBucket, HistoryRange
from worker.operations.history import latency_text, percent, read_range, read_until, warnings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def took(seconds: float, *, requests: int = 10) -> dict[str, int]:
    """A minute of requests that took so long."""
    return {ResponseField.SUCCESS.value: requests, LATENCY[bucket_of(seconds)]: requests}


USUAL: Final = took(0.1)


def history(
    *minutes: Mapping[ResponseField, int] | Mapping[str, int], shown: HistoryRange = HistoryRange.HOUR
) -> History:
    """An hour, of which these were the last minutes; in the others all was well."""
    counts = [*[USUAL] * (60 - len(minutes)), *minutes]
    buckets = tuple(
        HistoryBucket(
            at=NOON + timedelta(minutes=number),
            length=timedelta(minutes=1),
            counts={str(field): count for field, count in each.items()},
        )
        for number, each in enumerate(counts)
    )
    return History(shown=shown, since=NOON, buckets=buckets)


def test_an_aquilax_that_fails_one_in_ten_is_told() -> None:
    """Long before the circuit breaker opens, which takes failures only; with what was usual before."""
    minute = {ResponseField.SUCCESS: 18, ResponseField.SERVER_ERROR: 1, ResponseField.TIMEOUT: 1}

    (warning,) = warnings_of(history(minute, minute, {}, minute, minute, minute))

    assert warning == (
        "AquilaX failed 8 of 80 requests (10 %) within the last 5 minutes: 4 5xx, 4 timeouts; 0.4 % in the hour before."
        " That began at 12:54 UTC."
    )


def test_an_aquilax_that_has_become_slow_is_told_with_when_that_began() -> None:
    """Half an hour later, too, when most of what is shown was slow."""
    slow = took(0.4)
    for minutes in (5, 29):
        (warning,) = warnings_of(history(*[slow] * minutes))
        assert warning.startswith("AquilaX is slow: half of its responses within the last 5 minutes took ")
        assert warning.endswith(f" ms is usual. That began at 12:{60 - minutes} UTC.")


def test_what_began_before_the_hour_is_told_so() -> None:
    """It has failed in each of its minutes."""
    minute = {ResponseField.SUCCESS: 8, ResponseField.SERVER_ERROR: 2}

    (warning,) = warnings_of(history(*[minute] * 60))

    assert warning.endswith("; 20 % in the hour before. That began an hour ago or earlier.")


def test_when_it_began_is_not_before_the_first_request() -> None:
    """After an idle hour the first minutes fail."""
    bad = {ResponseField.SERVER_ERROR: 3}

    (warning,) = warnings_of(history(*[{}] * 57, *[bad] * 3))

    assert warning.endswith(": 9 5xx. That began at 12:57 UTC.")


def test_a_minute_in_between_that_went_well_does_not_begin_it_anew() -> None:
    """Nor is one that went badly by chance a part of it: both are looked at as the warning is, over five minutes."""
    ok, bad = took(0.1), took(0.4) | {ResponseField.SERVER_ERROR: 3}
    warnings = warnings_of(history(took(0.4) | {ResponseField.SERVER_ERROR: 1}, *[ok] * 9, *[bad, bad, ok] * 10))

    assert [warning.partition("That began at ")[2] for warning in warnings] == ["12:30 UTC.", "12:30 UTC."]


@pytest.mark.parametrize(
    "minutes",
    [[took(0.15)] * 5, [took(0.4)] * 2, [took(9, requests=1)] * 5, [took(0.4)] * 52],
    ids=["hardly slower", "for two minutes", "too few to tell", "for most of the hour"],
)
def test_what_is_hardly_slower_is_not_told(minutes: list[dict[str, int]]) -> None:
    """Nor what has been so for so long that it is usual."""
    assert warnings_of(history(*minutes)) == []


@pytest.mark.parametrize(
    "last",
    [
        {ResponseField.SUCCESS: 1000, ResponseField.SERVER_ERROR: 4},
        {ResponseField.SERVER_ERROR: 2},
        {ResponseField.CLIENT_ERROR: 50},
        {},
    ],
    ids=["few of many", "too few to tell", "refusals are the events' fault", "nothing"],
)
def test_what_is_usual_is_not_told(last: dict[ResponseField, int]) -> None:
    """A banner that always stands there is not read."""
    assert warnings_of(history(last)) == []


def test_a_day_says_nothing_of_now() -> None:
    """Its stretches of time are too long for that."""
    assert warnings_of(history({ResponseField.SERVER_ERROR: 50}, shown=HistoryRange.DAY)) == []


def test_an_unknown_range_is_refused_by_its_name() -> None:
    """With those that there are."""
    assert read_range("week") is HistoryRange.WEEK
    with pytest.raises(ValueError, match="range is 'month': expected hour, day, week"):
        read_range("month")


def test_until_is_a_time_that_has_passed() -> None:
    """Or nothing, for now."""
    assert read_until("", now=NOON) is None
    assert read_until("2h", now=NOON) == NOON - timedelta(hours=2)
    with pytest.raises(ValueError, match="until is 'soon': expected a time such as"):
        read_until("soon", now=NOON)
    with pytest.raises(ValueError, match="until is '2027-01-01': expected a time that has passed"):
        read_until("2027-01-01", now=NOON)


def test_numbers_say_no_more_than_is_known() -> None:
    """Two digits of a latency, as a histogram has no more."""
    assert [latency_text(seconds) for seconds in (None, 0.001, 0.1234, 0.0028, 1.26, 12.4)] == [
        *("—", "1 ms", "120 ms", "2.8 ms", "1.3 s", "12 s")
    ]
    assert [percent(*each) for each in ((0, 0), (0, 9), (1, 200), (1, 4), (3, 3))] == [
        *("0 %", "0 %", "0.5 %", "25 %", "100 %")
    ]
