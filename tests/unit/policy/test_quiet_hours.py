"""Quiet hours: by the clocks of a time zone, also over midnight and on the days on which these are changed."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from worker.policy.quiet_hours import QuietHours

NIGHT = QuietHours.read("22:00-07:00 Europe/Berlin")


@pytest.mark.parametrize(
    ("at", "quiet"),
    [
        ("2026-01-10T20:59:59", False),  # 21:59:59 there
        ("2026-01-10T21:00:00", True),
        ("2026-01-10T23:30:00", True),  # past midnight there
        ("2026-01-11T05:59:59", True),
        ("2026-01-11T06:00:00", False),
        ("2026-07-10T20:00:00", True),  # two hours ahead in summer
        ("2026-07-11T05:00:00", False),
        ("2026-03-29T04:59:59", True),  # that night has an hour less
        ("2026-03-29T05:00:00", False),
    ],
)
def test_a_night_is_that_of_its_zone(at: str, quiet: bool) -> None:
    """A moment is given in UTC."""
    assert NIGHT.contain(datetime.fromisoformat(at).replace(tzinfo=UTC)) is quiet


def test_hours_within_a_day_and_without_a_zone_are_of_utc() -> None:
    """As everything here is shown in UTC."""
    lunch = QuietHours.read(" 12:00 - 13:30 ")

    assert lunch == QuietHours(begin=time(12), end=time(13, 30))
    assert [lunch.contain(datetime(2026, 1, 1, hour, 29, tzinfo=UTC)) for hour in (11, 12, 13, 14)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("22-7", "such as 22:00-07:00 Europe/Berlin"),
        ("22:00-07:00 Europe/Berlin daily", "such as 22:00-07:00 Europe/Berlin"),
        ("24:00-07:00", "times from 00:00 to 23:59, and not 24:00"),
        ("07:00-07:00", "two different times"),
        ("22:00-07:00 Europe/Bonn", "a time zone of the IANA database"),
        ("22:00-07:00 ../../etc/passwd", "a time zone of the IANA database"),
        ("٢٢:00-07:00", "such as 22:00-07:00 Europe/Berlin"),
    ],
)
def test_what_are_no_hours_is_refused_with_what_is_expected(text: str, expected: str) -> None:
    """When the settings are read, and not at night."""
    with pytest.raises(ValueError, match=expected):
        QuietHours.read(text)
