"""How it went: the charts on the *Overview*, and the same as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from worker.accounting.history.reading import HistoryRange, read_history
from worker.operations.dashboard.handler import explained
from worker.operations.dashboard.history_charts import HistoryLinks, charts_of, time_text
from worker.operations.dashboard.page import HtmlHandler
from worker.operations.history import failures_in, latency_text, percent, read_range, read_until, warnings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.accounting.history.reading import History, HistoryBucket
    from worker.operations.dashboard.charts import Chart
    from worker.operations.dashboard.handler import Handler
    from worker.operations.dashboard.sources import Sources

__all__ = ["AskedHistory", "FoundHistory", "HistoryPage", "HistoryView", "find_history", "history_of", "read_asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedHistory:
    """Which part of the history is asked for.

    Attributes:
        shown: How much of it.
        until: A moment in the last stretch of time; None for now.
    """

    shown: HistoryRange
    until: datetime | None = None

    def query(self, shown: HistoryRange | None = None) -> str:
        """Return it as an address carries it; or another range until now."""
        until = {} if self.until is None or shown is not None else {"until": self.until.isoformat()}
        return f"?{urlencode({'range': shown or self.shown} | until)}"


def read_asked(page: Handler) -> AskedHistory:
    """Return which part the address asks for. Raises `RequestRefused` if it can't be read."""
    shown, until = (page.get_query_argument(name, "") for name in ("range", "until"))
    with explained():
        return AskedHistory(
            shown=read_range(shown or HistoryRange.HOUR), until=read_until(until, now=datetime.now(UTC))
        )


def history_of(sources: Sources, asked: AskedHistory) -> History:
    """Return that part. Raises `redis.RedisError` if Redis is unavailable."""
    return read_history(sources.partitions().home, asked.shown, until=asked.until)


class FoundHistory(NamedTuple):
    """The part that is shown, and the last hour, which tells how AquilaX does now."""

    shown: History
    hour: History


def find_history(sources: Sources, asked: AskedHistory) -> FoundHistory:
    """Return both; as `history_of`."""
    shown = history_of(sources, asked)
    is_hour = asked.shown is HistoryRange.HOUR or asked.until is not None
    return FoundHistory(shown, shown if is_hour else history_of(sources, AskedHistory(shown=HistoryRange.HOUR)))


class HistoryView:
    """A history as the pages show it.

    Args:
        page: The page, which knows the addresses.
        asked: What was asked for.
        found: What was found.

    Attributes:
        history: The part that is shown.
    """

    def __init__(self, page: Handler, asked: AskedHistory, found: FoundHistory) -> None:
        self.history, self._hour = found
        self._is_now = asked.until is None
        self._links = HistoryLinks(
            rows=page.reverse_url("feedback-rows"),
            overview=page.reverse_url("feedback-overview"),
            now=datetime.now(UTC),
        )

    @property
    def warnings(self) -> list[str]:
        """How much AquilaX fails now, and how slow it is, if so."""
        return warnings_of(self._hour) if self._is_now else []

    @property
    def times(self) -> tuple[datetime, datetime, datetime]:
        """When what is shown begins, its middle, and its end: that of the last stretch, or now if that goes on."""
        first, last = self.history.buckets[0].at, self.history.buckets[-1].until
        return first, first + (last - first) / 2, min(last, self._links.now)

    @property
    def begun(self) -> datetime | None:
        """Since when there is a history, if that is within what is shown."""
        since = self.history.since
        return since if since is not None and since > self.history.buckets[0].at else None

    @property
    def charts(self) -> list[Chart]:
        """The charts."""
        return charts_of(self.history, self._links)

    @property
    def rows(self) -> Sequence[HistoryBucket]:
        """The stretches of time in which something was recorded, the latest first."""
        return [bucket for bucket in reversed(self.history.buckets) if bucket.counts]

    def behind(self, bucket: HistoryBucket) -> str:
        """Return what is behind a stretch of time; '' for nothing."""
        return self._links.behind(bucket)

    def dead(self, bucket: HistoryBucket) -> str:
        """Return the address of what died in it."""
        return self._links.dead(bucket)


class HistoryPage(HtmlHandler):
    """The history as a table."""

    tab = "overview"

    async def get(self) -> None:
        """Show it."""
        self.asked("range", "until")
        asked = read_asked(self)
        history = await self.look(history_of, self.sources, asked)
        self.render(
            "feedback_history_table.html",
            asked=asked,
            history=HistoryView(self, asked, FoundHistory(history, history)),  # it shows no warnings
            failures_in=failures_in,
            latency_text=latency_text,
            percent=percent,
            timedelta=timedelta,
            time_text=time_text,
        )
