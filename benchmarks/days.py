"""What a day is like: how AquilaX answers, and whether the events repeat earlier ones.

An answer depends on the request_id alone, and on whether it has come before, so that every subject gets the same.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

__all__ = ["BAD_DAYS", "DAYS", "GOOD", "HALF", "Day", "status_of"]

_PARTS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day.

    Attributes:
        name: On the command line.
        title: In the tables.
        rejected: Of ten request_ids, how many are answered 404.
        unavailable: Of ten request_ids, how many are answered 503 when they come first.
        repeats: Whether a third of the events repeat or contradict an earlier one.
        replayed: Whether what died is replayed afterwards, and that is measured.
    """

    name: str
    title: str
    rejected: int = 0
    unavailable: int = 0
    repeats: bool = False
    replayed: bool = False


GOOD: Final = Day(name="good", title="all delivered")
HALF: Final = Day(name="half", title="every second answer 404", rejected=5)
BAD_DAYS: Final = (
    Day(name="all-404", title="every answer 404", rejected=_PARTS),
    Day(name="tenth-404", title="one answer in ten 404", rejected=1),
    Day(name="503-first", title="three in ten answered 503 first", unavailable=3),
    Day(name="replay", title="replay of dead letters, all delivered", rejected=_PARTS, replayed=True),
    Day(name="repeats", title="a third repeat or contradict", repeats=True),
)
DAYS: Final = {day.name: day for day in (GOOD, HALF, *BAD_DAYS)}


def status_of(day: Day, request_id: bytes, *, is_first: bool) -> HTTPStatus:
    """Return the status of the answer to a request.

    Args:
        day: What the day is like.
        request_id: Its.
        is_first: Whether this request_id comes for the first time.
    """
    part = zlib.crc32(request_id) % _PARTS
    if part < day.rejected:
        return HTTPStatus.NOT_FOUND
    if is_first and part < day.unavailable:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.OK
