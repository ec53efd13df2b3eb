"""Times as an operator may write them and as they are shown; and text of others, whose hidden characters are shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["EXPECTED", "read_later", "read_time", "read_time_to_come", "utc", "visible"]

EXPECTED: Final = "a time such as 2026-01-31T12:00:00, 2026-01-31, 2h, 30m or 7d"

_LONGEST_WAIT: Final = timedelta(days=366)

_AGO: Final = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_time(text: str, *, now: datetime) -> datetime:
    """Read a time: how long before now, as ``30m``, ``2h`` or ``7d``, or ISO 8601, in UTC unless it says otherwise.

    Raises:
        ValueError: It is none.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r}: expected {EXPECTED}") from None


def read_later(text: str, *, now: datetime) -> datetime:
    """Read a time to come: in how long, as ``30m``, ``2h`` or ``7d``; else as `read_time`.

    Raises:
        ValueError: It is none.
    """
    text = text.strip()
    if not _AGO.fullmatch(text):
        return read_time(text, now=now)
    try:
        return now + (now - read_time(text, now=now))
    except OverflowError:
        raise ValueError(f"{text!r}: expected {EXPECTED}") from None


def read_time_to_come(text: str, *, now: datetime) -> datetime:
    """Read a time to come, as `read_later` does, within a year.

    Raises:
        ValueError: It is none.
    """
    moment = read_later(text, now=now)
    if not now < moment <= now + _LONGEST_WAIT:
        raise ValueError(f"{text[:40]!r}: expected a time to come, within {_LONGEST_WAIT.days} days")
    return moment


def utc(moment: datetime) -> str:
    """Return a time to the second: ``2026-01-31 12:00:00 UTC``."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


_HIDDEN: Final = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Bidirectional controls, with which ``true`` can look like another word (CVE-2021-42574), and characters of no width:
https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters."""


def visible(text: str) -> str:
    """Return text with those characters as JSON escapes them, which in JSON means the same."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
