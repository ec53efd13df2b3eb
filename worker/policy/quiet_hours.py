"""The hours of the day in which only what is urgent is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["QuietHours"]

_EXPECTED: Final = "expected hours and a time zone such as 22:00-07:00 Europe/Berlin"
_FORM: Final = re.compile(r"(\d\d:\d\d)\s*-\s*(\d\d:\d\d)(?:\s+(\S+))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Hours of every day, by the clocks of one time zone.

    Attributes:
        begin: The first quiet minute.
        end: The first one that is not quiet again. It may be earlier in the day: then midnight lies in between.
        zone: Whose clocks these are.
    """

    begin: time
    end: time
    zone: tzinfo = UTC

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``22:00-07:00 Europe/Berlin``; the zone is UTC where none is named.

        Raises:
            ValueError: It is written otherwise, or there is no such time or zone.
        """
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise ValueError(_EXPECTED)
        begin, end = _time(form[1]), _time(form[2])
        if begin == end:
            raise ValueError("expected two different times: leave it out if no hour is quiet")
        return cls(begin=begin, end=end, zone=UTC if form[3] is None else _zone(form[3]))

    def contain(self, at: datetime) -> bool:
        """Whether a moment lies in them, which is aware of its offset."""
        local = at.astimezone(self.zone).time()
        if self.begin < self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


def _time(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected times from 00:00 to 23:59, and not {text}") from None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("expected a time zone of the IANA database, such as Europe/Berlin or UTC") from None
