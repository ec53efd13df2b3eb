"""How it went: charts on the Overview, a table, and JSON."""

from __future__ import annotations

import re
from contextlib import closing
from html import unescape
from typing import TYPE_CHECKING

import pytest

from tests.support.dashboard import text_of
from tests.support.dead_letter_records import a_record, add
from tests.support.flower import ServedFlower, served_flower
from tests.support.history import fill_history
from tests.support.places import places_of
from worker.accounting.history.store import write_counts
from worker.clients.redis.clock import RedisClock
from worker.database.schema import upgrade
from worker.dead_letters.store import DeadLetterStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import RedisServer


@pytest.fixture
def flower(sqlite_url: str, valkey: RedisServer) -> Iterator[ServedFlower]:
    """Flower on loopback, without a login."""
    upgrade(sqlite_url)
    with served_flower(broker_url=valkey.url, database_url=sqlite_url) as flower:
        yield flower


def test_an_empty_history_reads_well(flower: ServedFlower) -> None:
    """No axis without a line, and no error."""
    assert "No history yet: workers record it" in text_of(flower.get("/feedback"))
    assert "No history yet" in text_of(flower.get("/feedback/history"))
    record = flower.get("/api/feedback/history").json()
    assert (record["range"], record["recorded_since"], len(record["buckets"])) == ("hour", None, 60)
    assert record["total"]["latency_seconds"] == {"p50": None, "p95": None, "p99": None}


def test_a_bar_leads_to_the_rows_that_died_then(flower: ServedFlower, sqlite_url: str, valkey: RedisServer) -> None:
    """Since and until of the address choose them, by the clock by which they were counted."""
    with places_of(valkey) as places, closing(DeadLetterStore.connect(sqlite_url)) as store:
        now = RedisClock(places.client).now()
        row = add(store, a_record(failed_at=now))
        minute = int(now.timestamp()) // 60 * 60
        write_counts(places.client, {minute: {"rejected": 1}}, writer="w", number=1, now=minute)

        page = flower.get("/feedback").text
        (href,) = set(re.findall(r'href="([^"]*rows[^"]*reason=rejected[^"]*)"', page))
        rows = flower.get(unescape(href))

    assert rows.status_code == 200
    assert f"/feedback/dead-letters/{row}" in rows.text
    assert "Recorded since" in text_of(flower.get("/feedback"))


def test_a_week_is_told_as_charts_as_a_table_and_as_json(flower: ServedFlower, valkey: RedisServer) -> None:
    """The same numbers; the page's own script does not ask for the charts every two seconds."""
    with valkey.client() as client:
        fill_history(client, minutes=3 * 60)

    page, record = flower.get("/feedback?range=week"), flower.get("/api/feedback/history?range=week").json()
    live = flower.get("/feedback?range=week", headers={"X-Feedback-Live": "2"})
    table = text_of(flower.get("/feedback/history?range=week"))

    assert page.text.count("data-chart") == 6
    assert "data-chart" not in live.text
    assert 'id="overview-numbers"' in live.text
    assert (record["bucket_seconds"], len(record["buckets"])) == (3600, 168)
    assert record["total"]["delivered"] == sum(each["delivered"] for each in record["buckets"]) > 1000
    assert f"delivered {record['total']['delivered']:,}" in text_of(page)
    assert f"{record['buckets'][-2]['delivered']:,}" in table
    assert record["total"]["responses"]["server_error"] > 0
    assert 0.05 < record["total"]["latency_seconds"]["p50"] < 1


def test_the_minutes_of_a_past_hour_can_be_asked_for(flower: ServedFlower, valkey: RedisServer) -> None:
    """And the page says that it is not now, and does not warn of it."""
    with valkey.client() as client:
        last = fill_history(client, minutes=3 * 60)
    now, then = text_of(flower.get("/feedback")), text_of(flower.get("/feedback?until=90m"))
    record = flower.get("/api/feedback/history?until=90m").json()

    assert "AquilaX failed" in now
    assert "AquilaX failed" not in then
    assert "the hour until" in then
    assert record["buckets"][-1]["at"] < flower.get("/api/feedback/history").json()["buckets"][-1]["at"]
    assert last > 0


@pytest.mark.parametrize("path", ["/feedback", "/feedback/history", "/api/feedback/history"])
@pytest.mark.parametrize(
    ("query", "words"),
    [("range=month", "range is 'month': expected hour, day, week"), ("until=soon", "until is 'soon': expected a time")],
)
def test_what_cannot_be_read_is_refused(flower: ServedFlower, path: str, query: str, words: str) -> None:
    """By the name of the field, with what is expected."""
    refused = flower.get(f"{path}?{query}")

    assert refused.status_code == 400
    assert words in unescape(refused.text)


def test_without_redis_the_rest_of_the_page_stands(sqlite_url: str, valkey: RedisServer) -> None:
    """What the database knows; and why there are no charts."""
    upgrade(sqlite_url)
    away = valkey.url.replace(str(valkey.port), "1")
    with served_flower(broker_url=away, database_url=sqlite_url) as flower:
        page = flower.get("/feedback")

        assert page.status_code == 503
        assert "Redis can't be asked, which has the history" in unescape(text_of(page))
        assert flower.get("/api/feedback/history").status_code == 503
