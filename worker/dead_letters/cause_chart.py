"""The chart of causes: into which stretches of time deaths are counted, and the day up to now and the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import ColumnElement, and_

from worker.database.models import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BUCKETS", "DAY", "SHORTEST_BUCKET", "Chart", "Ends", "Numbers"]

BUCKETS: Final = 32
"""Into how many stretches of time a chart is cut: as many bars as fit beside a line of text."""

SHORTEST_BUCKET: Final = 60
"""Seconds. What died within one minute died at once."""

DAY: Final = timedelta(days=1)


class Ends(NamedTuple):
    """One cause, but for its numbers; the fields are those of `worker.dead_letters.causes.FingerprintCount`."""

    fingerprint: str
    summary: str
    first_failed_at: datetime
    last_failed_at: datetime
    org: str | None
    is_mixed: bool


class Numbers(NamedTuple):
    """The numbers of one cause; the fields are those of `worker.dead_letters.causes.FingerprintCount`."""

    counts: tuple[int, ...]
    last_day: int
    day_before: int


class Chart(NamedTuple):
    """The stretches of time: when the first one begins, how long each is, and how late it is."""

    begin: datetime
    bucket: timedelta
    now: datetime

    @classmethod
    def over(cls, ends: Iterable[Ends], now: datetime) -> Chart:
        """Return those of some causes.

        The last stretch ends with the last death. After a single burst the others are empty, and say since when.
        """
        every = list(ends)
        end = int(max(each.last_failed_at for each in every).timestamp()) + 1
        lived = end - int(min(each.first_failed_at for each in every).timestamp())
        bucket = timedelta(seconds=max(SHORTEST_BUCKET, -(-lived // BUCKETS)))
        return cls(datetime.fromtimestamp(end, UTC) - BUCKETS * bucket, bucket, now)

    @property
    def _days(self) -> tuple[datetime, datetime]:
        """When the last day began, and the one before it."""
        return self.now - DAY, self.now - 2 * DAY

    @property
    def ranges(self) -> list[ColumnElement[bool]]:
        """The condition on a row of each stretch; then, for each of the days, of the stretch it began in, from then on.

        With the whole stretches after that these make up the day: so no row is counted a third time for it.
        """
        starts = [self.begin + number * self.bucket for number in range(BUCKETS)]
        ends = [(moment, self._end_of_stretch(moment)) for moment in self._days]
        times = [*((start, start + self.bucket) for start in starts), *ends]
        return [and_(DeadLetter.failed_at >= start, DeadLetter.failed_at < end) for start, end in times]

    def numbers(self, counted: Sequence[int]) -> Numbers:
        """Return the numbers of a cause from how many rows are in each of the ranges."""
        counts, parts = tuple(map(int, counted[:BUCKETS])), counted[BUCKETS:]
        last, both = (
            int(part) + sum(counts[max(self.place_of(moment) + 1, 0) :])
            for moment, part in zip(self._days, parts, strict=True)
        )
        return Numbers(counts, last, both - last)

    def _end_of_stretch(self, moment: datetime) -> datetime:
        """When the stretch ends that a moment is in; the moment itself if it is in none."""
        place = self.place_of(moment)
        return self.begin + (place + 1) * self.bucket if 0 <= place < BUCKETS else moment

    def place_of(self, moment: datetime) -> int:
        """Return in which stretch a row died."""
        return (moment - self.begin) // self.bucket
