"""Where the bars and lines of a chart are, and where they lead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from worker.accounting.history.fields import LATENCY, EventField, ResponseField
from worker.accounting.history.latency import bucket_of
from worker.accounting.history.reading import History, HistoryBucket, HistoryRange
from worker.operations.dashboard.charts import HEIGHT, Chart, Series, round_span, round_top
from worker.operations.dashboard.history_charts import HistoryLinks, charts_of
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)
LINKS = HistoryLinks(rows="/rows", overview="/feedback", now=NOW)


def chart(*series: Series) -> Chart:
    """A chart of some series."""
    return Chart(name="c", title="C", series=series, marks=(), shown=str)


def test_bars_stand_on_each_other_and_end_at_the_top() -> None:
    """In the order of the series, from the lowest."""
    one = Series(name="one", css="a", values=[1, 0, 2])
    other = Series(name="other", css="b", values=[3, 0, 2])

    paths = [path for _, path in chart(one, other).paths()]

    assert paths == ["M1 90h8v30h-8zM21 60h8v60h-8z", "M1 0h8v90h-8zM21 0h8v60h-8z"]


def test_a_single_failure_among_thousands_can_be_seen() -> None:
    """Each bar is at least one unit high, and none leaves the chart."""
    failed = Series(name="5xx", css="a", values=[1])
    passed = Series(name="2xx", css="b", values=[9999])

    (_, low), (_, high) = chart(failed, passed).paths()

    assert low == f"M1 {HEIGHT - 1}h8v1h-8z"
    assert high.startswith("M1 0")


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    """And no zero; a value that stands alone is a dot."""
    line = Series(name="p50", css="a", values=[None, 1, None, 2, 1], is_line=True)

    ((_, path),) = chart(line).paths()

    assert path == "M15 60h.1M35 0L45 60"


@pytest.mark.parametrize(("highest", "top"), [(0, 1), (1, 1), (7, 8), (278, 300), (9_001, 10_000), (0.123, 0.15)])
def test_a_scale_ends_at_a_round_number(highest: float, top: float) -> None:
    """No lower than the highest, and not much higher."""
    assert round_top(highest) == pytest.approx(top)


@pytest.mark.parametrize(("highest", "top"), [(0, 1), (61, 120), (700, 900), (3 * 86_400 - 5, 3 * 86_400)])
def test_a_scale_of_ages_ends_at_a_round_age(highest: float, top: float) -> None:
    """Of minutes, hours or days, and not of ten to some power of seconds."""
    assert round_span(highest) == top


def history(shown: HistoryRange, last: Mapping[str, int], *, before: Mapping[str, int] | None = None) -> History:
    """A history of which the last two stretches of time have something in them."""
    length = shown.resolution.length
    end = datetime.fromtimestamp(shown.resolution.start_of(NOW.timestamp()), UTC)
    counts: list[Mapping[str, int]] = [{}] * (shown.buckets - 2) + [before or {}, last]
    buckets = [
        HistoryBucket(at=end - length * (shown.buckets - 1 - number), length=length, counts=each)
        for number, each in enumerate(counts)
    ]
    return History(shown=shown, since=buckets[0].at, buckets=tuple(buckets))


def test_dead_letters_lead_to_the_rows_of_their_time_and_reason() -> None:
    """The whole bar to all, and each part of it to those of its reason."""
    counts = {Reason.REJECTED.value: 2, Reason.EXHAUSTED.value: 1}

    shown = charts_of(history(HistoryRange.HOUR, counts, before={Reason.FORBIDDEN.value: 1}), LINKS)
    dead = next(one for one in shown if one.name == "dead")

    asked = [parse_qs(urlsplit(mark.href).query) for mark in dead.linked]
    assert [each.get("reason") for each in asked] == [["forbidden"], None, ["rejected"], ["exhausted"]]
    assert {each["state"][0] for each in asked} == {"any"}
    assert (asked[1]["since"], asked[1]["until"]) == (["2026-01-31T12:00Z"], ["2026-01-31T12:01Z"])
    assert dead.linked[1].text.endswith("12:00 to 12:01 UTC: 2 rejected, 1 exhausted")
    assert sum(mark.height for mark in dead.linked[2:]) == pytest.approx(HEIGHT * 3 / dead.top, abs=0.1)


def test_a_stretch_of_a_week_leads_to_its_minutes_while_they_are_kept() -> None:
    """Later to what died in it, if something did; and of a minute without a dead letter there is nothing more."""
    week = history(HistoryRange.WEEK, {EventField.DELIVERED.value: 3})
    old = HistoryBucket(at=NOW - timedelta(days=3), length=timedelta(hours=1), counts={Reason.INVALID.value: 1})
    quiet = HistoryBucket(at=old.at, length=old.length, counts={EventField.DELIVERED.value: 1})

    assert LINKS.behind(week.buckets[-1]) == "/feedback?range=hour&until=2026-01-31T12:00Z#history"
    assert LINKS.behind(old).startswith("/rows?state=any&since=2026-01-28T12:00Z")
    assert LINKS.behind(quiet) == ""
    assert LINKS.behind(history(HistoryRange.HOUR, {EventField.DELIVERED.value: 3}).buckets[-1]) == ""


def test_failures_are_at_the_bottom_and_every_number_is_said() -> None:
    """So that a few are seen beside thousands of successes; what was sampled is not known yet of the last minute."""
    counts = {
        ResponseField.SUCCESS.value: 90,
        ResponseField.SERVER_ERROR.value: 10,
        LATENCY[bucket_of(0.2)]: 100,
        EventField.DELIVERED.value: 90,
    }

    charts = {one.name: one for one in charts_of(history(HistoryRange.HOUR, counts), LINKS)}

    assert [series.name for series in charts["responses"].series] == ["5xx", "2xx"]
    assert charts["responses"].summary == "10 % of 100 requests failed: 10 5xx"
    assert charts["responses"].marks[-1].text.endswith("UTC: 10 5xx, 90 2xx (10 % failed)")
    assert [series.summary for series in charts["latency"].series] == ["200 ms"] * 3
    accepted = charts["events"].series[-1]
    assert accepted.values[-3:] == [0, None, None]
    assert charts["dead"].is_empty
