"""What a worker's log says: one line an outcome, in one format, and no secret."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos.logs import records
from tests.support.processes import eventually, running
from worker.sandbox.stack import SANDBOX_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from worker.sandbox.stack import LocalStack


@pytest.fixture
def stack(three_presses: LocalStack) -> LocalStack:
    """Three events, and no worker yet."""
    return three_presses


def ended(text: str) -> bool:
    """Whether a log tells of all four requests to AquilaX."""
    return text.count("latency_seconds") >= 4


def test_a_log_for_machines_is_json_throughout_with_one_line_an_outcome(stack: LocalStack, tmp_path: Path) -> None:
    """Celery's lines too, in the file that Celery was told to write."""
    log = tmp_path / "machine.log"
    stack.environment["FEEDBACK_LOG_FORMAT"] = "json"
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "--loglevel=INFO", f"--logfile={log}"]
    with running(command, log=tmp_path / "output.log", env=stack.environment) as worker:
        eventually(lambda: log.exists() and ended(log.read_text()), what=f"all have ended; {worker.output()}")

    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"celery.apps.worker", "worker.observability.outcome_log"} <= {line["logger"] for line in lines}
    found = {(line["org"], line["attempt"]): line for line in lines if "outcome" in line}
    assert {place: (line["outcome"], line["classification"]) for place, line in found.items()} == {
        ("org-ok", 1): ("delivered", "delivered"),
        ("org-later", 1): ("retry", "retryable"),
        ("org-later", 2): ("delivered", "delivered"),
        ("org-never", 1): ("dead_letter", "rejected"),
    }
    assert all(line["age_seconds"] > 0 for line in found.values())
    assert all(0 <= line["latency_seconds"] < line["age_seconds"] for line in found.values())  # to the millisecond
    assert found["org-never", 1]["event"] == "dead letter: rejected 404 Request ID not found"
    assert Counter(line["request_id"] for line in lines if "request_id" in line).total() == 4
    assert SANDBOX_KEY not in log.read_text()


def test_a_log_for_people_is_celerys_with_what_is_known_behind_it(stack: LocalStack) -> None:
    """And Celery says nothing more of a single event."""
    worker = stack.start_worker()

    eventually(lambda: ended(worker.said()), what="all three have ended")

    outcomes = [text for _, text in records(worker.said()) if "outcome=" in text]
    assert len(outcomes) == 4
    assert all('group="a group"' in text and "age_seconds=" in text for text in outcomes)
    assert "Task feedback.deliver" not in worker.said()
