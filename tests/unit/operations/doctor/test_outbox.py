"""The look at a backend's outbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text

from producer import FeedbackEvent, outbox
from worker.operations.doctor.outbox import look_at_outbox
from worker.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from worker.operations.doctor.finding import Finding

EVENT = FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g")


def _found(url: str) -> list[Finding]:
    return list(look_at_outbox(load_settings(feedback_outbox_url=url, _env_file=None)))


def test_a_row_that_waits_for_long_is_red_and_one_that_is_no_event_yellow(tmp_path: Path) -> None:
    """No relay runs; what has just been written is no sign of that."""
    url = f"sqlite:///{tmp_path}/chat.sqlite3"
    engine = create_engine(url)
    outbox.create_table(engine)
    with engine.begin() as connection:
        for _ in range(2):
            outbox.add(connection, EVENT)
    fresh = _found(url)
    long_ago = {"at": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}
    with engine.begin() as connection:
        connection.execute(text("UPDATE feedback_outbox SET created_at = :at WHERE id = 1"), long_ago)
        connection.execute(text("UPDATE feedback_outbox SET problem = 'status is 5' WHERE id = 2"))
    engine.dispose()
    late = _found(url)

    assert [(each.level, each.summary) for each in fresh] == [("green", "2 rows wait to be carried")]
    assert [(each.level, each.summary) for each in late] == [
        ("red", "1 rows wait to be carried, the oldest for 2 h"),
        ("yellow", "1 rows are no event, and are set aside"),
    ]


@pytest.mark.parametrize(
    ("url", "summary"),
    [
        ("sqlite:////nowhere/chat.sqlite3", "there is no file"),
        ("nosuch://u:s3cret-word@h/x", "is no database"),
        ("postgresql://u:s3cret-word@127.0.0.1:1/x", "u:***@127.0.0.1:1/x"),
    ],
)
def test_a_database_that_is_none_is_red(url: str, summary: str) -> None:
    """Its password is not shown."""
    (finding,) = _found(url)

    assert finding.level == "red"
    assert summary in finding.summary
    assert "s3cret-word" not in finding.summary


def test_a_missing_table_is_red(tmp_path: Path) -> None:
    """With the command that makes it."""
    file = tmp_path / "chat.sqlite3"
    file.touch()

    (finding,) = _found(f"sqlite:///{file}")

    assert (finding.level, "relay --create-table" in finding.summary) == ("red", True)
