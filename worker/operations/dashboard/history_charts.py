"""What the charts of the history show, and the rows behind each bar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from worker.accounting.history.fields import MINUTES, EventField, PeakField, ResponseField
from worker.accounting.history.reading import QUANTILES, HistoryRange
from worker.operations.dashboard.charts import HEIGHT, STEP, Chart, Mark, Series, round_span, round_top
from worker.operations.history import RESPONSES, failures_in, latency_text, percent
from worker.policy.durations import span
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from enum import StrEnum

    from worker.accounting.history.reading import History, HistoryBucket

__all__ = ["HistoryLinks", "charts_of", "time_text"]

_STACKED: Final = (
    ResponseField.SERVER_ERROR,
    ResponseField.TIMEOUT,
    ResponseField.NO_RESPONSE,
    ResponseField.TOO_MANY,
    ResponseField.CLIENT_ERROR,
    ResponseField.REDIRECT,
    ResponseField.OTHER,
    ResponseField.SUCCESS,
)
"""Failures stand at the bottom, where a few of them are seen beside thousands of successes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLinks:
    """Where the parts of a chart lead.

    Attributes:
        rows: The address of the rows of dead letters.
        overview: The address of the overview.
        now: This moment.
    """

    rows: str
    overview: str
    now: datetime

    def dead(self, bucket: HistoryBucket, *reasons: Reason) -> str:
        """Return the address of the rows that died in a bucket, of some reasons or of any."""
        filters = [("reason", reason.value) for reason in reasons]
        filters += [("state", "any"), ("since", _minute(bucket.at)), ("until", _minute(bucket.until))]
        return f"{self.rows}?{urlencode(filters, safe=':')}"

    def behind(self, bucket: HistoryBucket) -> str:
        """Return what is behind a bucket: its minutes while these are kept, else its dead letters; '' for neither."""
        kept = self.now - bucket.at < timedelta(seconds=MINUTES.kept)
        if bucket.length > MINUTES.length and kept and bucket.counts:
            until = _minute(min(bucket.until - MINUTES.length, self.now))
            return f"{self.overview}?range={HistoryRange.HOUR.value}&until={until}#history"
        return self.dead(bucket) if bucket.dead else ""


def time_text(bucket: HistoryBucket) -> str:
    """Return when a bucket was: ``12:05 to 12:06 UTC``, or with the day where it is not today."""
    day = "" if bucket.at.date() == datetime.now(UTC).date() else f"{bucket.at:%d %b} "
    return f"{day}{bucket.at:%H:%M} to {bucket.until:%H:%M} UTC"


def _minute(moment: datetime) -> str:
    """A time as short as an address may have it."""
    return f"{moment:%Y-%m-%dT%H:%MZ}"


def charts_of(history: History, links: HistoryLinks) -> list[Chart]:
    """Return the charts, in the order of the page."""
    charts = _Charts(history, links)
    return [charts.events(), charts.responses(), charts.latency(), charts.dead(), charts.queue(), charts.oldest()]


class _Charts:
    """The charts of one history."""

    def __init__(self, history: History, links: HistoryLinks) -> None:
        self._buckets, self._links, self._total = history.buckets, links, history.total
        self._times = [time_text(bucket) for bucket in self._buckets]
        self._behind = [links.behind(bucket) for bucket in self._buckets]

    def events(self) -> Chart:
        fields = {"accepted": EventField.ACCEPTED, "delivered": EventField.DELIVERED, "retried": EventField.RETRIED}
        return Chart(
            name="events",
            title="Events",
            series=[
                self._sums("delivered", "feedback-good", EventField.DELIVERED),
                self._sums("retried", "feedback-warn", EventField.RETRIED),
                self._sums("accepted", "feedback-line-1", EventField.ACCEPTED, is_line=True),
            ],
            marks=self._marks(
                ", ".join(f"{bucket.sum(field):,} {name}" for name, field in fields.items() if bucket.sum(field))
                for bucket in self._buckets
            ),
            shown=_count,
        )

    def responses(self) -> Chart:
        total = self._total
        asked = f"of {total.responses:,} requests failed"
        some = f"{percent(total.failures, total.responses)} {asked}: {failures_in(total)}"
        return Chart(
            name="responses",
            title="AquilaX' responses",
            series=[
                self._sums(RESPONSES[field], f"feedback-http-{field.name.lower()}", field)
                for field in _STACKED
                if total.sum(field)
            ],
            marks=self._marks(map(_responses_in, self._buckets)),
            shown=_count,
            summary=some if total.failures else f"none {asked}",
        )

    def latency(self) -> Chart:
        found = [[bucket.latency(part) for part in QUANTILES] for bucket in self._buckets]
        names = [f"p{round(part * 100)}" for part in QUANTILES]
        return Chart(
            name="latency",
            title="AquilaX' latency",
            series=[
                Series(
                    name=name,
                    css=f"feedback-line-{number + 1}",
                    values=[values[number] for values in found],
                    is_line=True,
                    summary=latency_text(self._total.latency(QUANTILES[number])),
                )
                for number, name in enumerate(names)
            ],
            marks=self._marks(
                ", ".join(f"{name} {latency_text(value)}" for name, value in zip(names, values, strict=True))
                if any(values)
                else ""
                for values in found
            ),
            shown=latency_text,
        )

    def dead(self) -> Chart:
        return Chart(
            name="dead",
            title="Dead letters",
            series=[
                self._sums(reason.value, f"feedback-dead-{reason}", reason)
                for reason in Reason
                if self._total.sum(reason)
            ],
            marks=list(self._dead_marks()),
            shown=_count,
        )

    def queue(self) -> Chart:
        fields = {"queued": PeakField.QUEUED, "scheduled": PeakField.SCHEDULED, "in flight": PeakField.IN_FLIGHT}
        return Chart(
            name="queue",
            title="Queue",
            series=[
                self._peaks(name, f"feedback-line-{number}", field)
                for number, (name, field) in enumerate(fields.items(), start=1)
            ],
            marks=self._marks(
                ", ".join(
                    f"{depth:,} {name}" for name, field in fields.items() if (depth := bucket.peak(field)) is not None
                )
                for bucket in self._buckets
            ),
            shown=_count,
        )

    def oldest(self) -> Chart:
        ages = [bucket.peak(PeakField.OLDEST) for bucket in self._buckets]
        known = [age for age in ages if age is not None]
        summary = f"at most {_age(max(known))}" if known else "—"
        return Chart(
            name="oldest",
            title="Age of the oldest event",
            series=[Series(name="oldest", css="feedback-warn", values=ages, summary=summary)],
            marks=self._marks("" if age is None else f"the oldest event was {_age(age)} old" for age in ages),
            shown=_age,
            rounded=round_span,
        )

    def _sums(self, name: str, css: str, field: StrEnum, *, is_line: bool = False) -> Series:
        values: list[int | None] = [bucket.sum(field) for bucket in self._buckets]
        summary = _count(self._total.sum(field))
        if is_line:  # what is sampled is not known yet of the last minute: that is no fall to zero
            values[-2:] = [value or None for value in values[-2:]]
        return Series(name=name, css=css, values=values, is_line=is_line, summary=summary)

    def _peaks(self, name: str, css: str, field: PeakField) -> Series:
        values = [bucket.peak(field) for bucket in self._buckets]
        highest = self._total.peak(field)
        summary = "—" if highest is None else f"at most {highest:,}"
        return Series(name=name, css=css, values=values, is_line=True, summary=summary)

    def _marks(self, texts: Iterable[str]) -> list[Mark]:
        """A mark for each bucket of which there is something to say."""
        each = enumerate(zip(self._times, texts, self._behind, strict=True))
        return [Mark(x=n * STEP, text=f"{time}: {text}", href=href) for n, (time, text, href) in each if text]

    def _dead_marks(self) -> Iterator[Mark]:
        """A mark for each bucket with dead letters, and for each part of its bar where these are of several reasons."""
        top = round_top(max(bucket.dead for bucket in self._buckets))
        for number, bucket in enumerate(self._buckets):
            reasons = [reason for reason in Reason if bucket.sum(reason)]
            parts = [f"{bucket.sum(reason):,} {reason}" for reason in reasons]
            x, time, lower = number * STEP, self._times[number], float(HEIGHT)
            if reasons:
                only = reasons if len(reasons) == 1 else ()
                yield Mark(x=x, text=f"{time}: {', '.join(parts)}", href=self._links.dead(bucket, *only))
            for reason, part in zip(reasons, parts, strict=True) if len(reasons) > 1 else ():
                height = HEIGHT * bucket.sum(reason) / top
                lower -= height
                href = self._links.dead(bucket, reason)
                yield Mark(x=x, y=round(lower, 2), height=round(height, 2), text=f"{time}: {part}", href=href)


def _responses_in(bucket: HistoryBucket) -> str:
    parts = (f"{bucket.sum(field):,} {RESPONSES[field]}" for field in _STACKED if bucket.sum(field))
    failed = f" ({percent(bucket.failures, bucket.responses)} failed)" if bucket.failures else ""
    return ", ".join(parts) + failed


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _age(seconds: float) -> str:
    return span(timedelta(seconds=seconds))
