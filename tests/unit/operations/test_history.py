"""What is asked of the history, and what it says of AquilaX now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from worker.accounting.history.fields import ResponseField
from worker.accounting.history.reading import History, HistoryBucket, HistoryRange
from worker.operations.history import failing, latency_text, percent, read_range, read_until

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def history(*minutes: dict[ResponseField, int], shown: HistoryRange = HistoryRange.HOUR) -> History:
    """An hour, of which these were the last minutes; in the others all was well."""
    counts = [{ResponseField.SUCCESS: 10}] * (60 - len(minutes)) + list(minutes)
    buckets = tuple(
        HistoryBucket(
            at=NOON + timedelta(minutes=number),
            length=timedelta(minutes=1),
            counts={field.value: count for field, count in each.items()},
        )
        for number, each in enumerate(counts)
    )
    return History(shown=shown, since=NOON, buckets=buckets)


def test_an_aquilax_that_fails_one_in_ten_is_told() -> None:
    """Long before the circuit breaker opens, which takes failures only; with what was usual before."""
    minute = {ResponseField.SUCCESS: 18, ResponseField.SERVER_ERROR: 1, ResponseField.TIMEOUT: 1}

    assert failing(history(minute, minute, minute, minute, minute)) == (
        "AquilaX failed 10 of 100 requests (10 %) within the last 5 minutes: 5 5xx, 5 timeouts; 0 % in the hour before."
    )


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
    assert failing(history(last)) == ""


def test_a_day_says_nothing_of_now() -> None:
    """Its stretches of time are too long for that."""
    assert failing(history({ResponseField.SERVER_ERROR: 50}, shown=HistoryRange.DAY)) == ""


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
