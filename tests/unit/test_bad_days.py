"""The bad days of `make bench`: every subject gets the same answers and the same events."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus

import pytest

from benchmarks.days import BAD_DAYS, DAYS, GOOD, HALF, Day, status_of
from benchmarks.events import repeating, request_ids

NUMBER = 3000


@pytest.mark.parametrize("day", [GOOD, HALF, *BAD_DAYS], ids=lambda day: day.name)
def test_a_day_answers_by_the_request_id(day: Day) -> None:
    """As many in ten as the day says, and a 503 only when it comes first."""
    ids = [request_id.encode() for request_id in request_ids(NUMBER)]
    first = Counter(status_of(day, each, is_first=True) for each in ids)
    again = Counter(status_of(day, each, is_first=False) for each in ids)

    assert first[HTTPStatus.NOT_FOUND] == again[HTTPStatus.NOT_FOUND] == pytest.approx(NUMBER * day.rejected / 10, 0.1)
    assert first[HTTPStatus.SERVICE_UNAVAILABLE] == pytest.approx(NUMBER * day.unavailable / 10, 0.1)
    assert again[HTTPStatus.SERVICE_UNAVAILABLE] == 0


def test_every_third_event_is_an_earlier_one() -> None:
    """Half of them with the same vote, half with the other one."""
    said: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for event in repeating(NUMBER):
        request_id = event["request_id"]
        kinds["fresh" if request_id not in said else event["status"]] += 1
        said.setdefault(request_id, event["status"])

    assert kinds == {"fresh": NUMBER * 2 // 3, "true": NUMBER // 6, "false": NUMBER // 6}
    assert DAYS["repeats"].repeats
