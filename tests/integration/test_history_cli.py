"""``aquilax-feedback history``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from tests.support.history import fill_history
from worker.operations.cli import main

if TYPE_CHECKING:
    from tests.support.places import Places


def run(*arguments: str) -> Result:
    """Run it."""
    return CliRunner().invoke(main, ["history", *arguments])


def test_it_says_how_the_last_hour_went(places: Places) -> None:
    """A line for each minute, as tab-separated cells in a pipe; and on standard error that AquilaX fails."""
    fill_history(places.client, minutes=90)

    ended = run()

    head, *lines = (line.split("\t") for line in ended.stdout.splitlines())
    assert ended.exit_code == 0
    assert head[:5] == ["from (UTC)", "accepted", "delivered", "retried", "dead"]
    assert len(lines) == 60
    assert all(len(line) == len(head) for line in lines)
    assert lines[-1][head.index("failed")].startswith("2")
    assert "AquilaX failed" in ended.stderr
    assert "within the last 5 minutes" in ended.stderr


def test_json_has_what_the_api_has(places: Places) -> None:
    """Every stretch of time, also where nothing was recorded."""
    fill_history(places.client, minutes=90)

    record = json.loads(run("--range", "day", "--json").stdout)

    assert (record["range"], record["bucket_seconds"], len(record["buckets"])) == ("day", 900, 96)
    assert record["buckets"][0]["queued"] is None
    assert record["total"]["delivered"] == sum(each["delivered"] for each in record["buckets"]) > 0


@pytest.mark.usefixtures("places")
def test_without_a_history_it_says_so() -> None:
    """And that is no error."""
    ended = run()

    assert (ended.exit_code, ended.stdout) == (0, "no history yet: workers record what they deliver\n")


def test_a_wrong_time_is_refused() -> None:
    """By the option's name."""
    ended = run("--until", "soon")

    assert ended.exit_code == 2
    assert "--until is 'soon': expected a time such as" in ended.output


def test_a_redis_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting, and exit status 1."""
    monkeypatch.setenv("FEEDBACK_BROKER_URL", "redis://127.0.0.1:1/0")

    ended = run()

    assert ended.exit_code == 1
    assert "FEEDBACK_BROKER_URL" in ended.output
