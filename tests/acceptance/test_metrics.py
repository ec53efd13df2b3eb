"""The metrics of a real worker, as Prometheus reads them from its port."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import eventually
from worker.policy.result import ResultKind
from worker.policy.retry import Reason
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.sandbox.stack import LocalStack

WORKER = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
PREFORK = "processes"
"""By its other name: `-P prefork` is the default, and the app's own pool is taken in its place."""


class Scrape(dict[str, float]):
    """Every series of one answer, by its name and the values of its labels."""

    def __init__(self, stack: LocalStack) -> None:
        answer = requests.get(f"http://127.0.0.1:{stack.environment['FEEDBACK_METRICS_PORT']}/metrics", timeout=10)
        answer.raise_for_status()
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                name = sample.name.removeprefix("aquilax_feedback_")
                self[" ".join([name, *sample.labels.values()])] = sample.value


def scrape_until(stack: LocalStack, seen: Callable[[Scrape], bool], *, what: str) -> Scrape:
    """The first answer in which something is seen."""

    def look() -> Scrape | None:
        answer = Scrape(stack)
        return answer if seen(answer) else None

    return eventually(look, what=what) or Scrape(stack)


def all_ended(found: Scrape) -> bool:
    """Whether all three events are counted to their end; processes write one count after the other."""
    ended = found.get("deliveries_total delivered") == 2 and found["deliveries_total dead_letter"] == 1
    return ended and found["attempts_sum"] == 4 and found["enqueue_to_delivered_seconds_count"] == 2


@pytest.fixture
def stack(three_presses: LocalStack) -> LocalStack:
    """Three events, and a port for the metrics of the worker that is still to come."""
    three_presses.environment["FEEDBACK_METRICS_PORT"] = str(free_port())
    return three_presses


@pytest.mark.parametrize("pool", ["threads", "solo", PREFORK])
def test_a_worker_counts_what_it_does(stack: LocalStack, tmp_path: Path, pool: str) -> None:
    """In every pool; the processes of prefork count together in the folder that they are given."""
    if pool == PREFORK:
        (tmp_path / "shared").mkdir()
        stack.environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "shared")
    worker = stack.start_worker(options=["-P", pool, "-c", "2"])

    found = scrape_until(stack, all_ended, what=f"all are counted; {worker.said()}")

    assert found["deliveries_total retry"] == found["retries_total"] == 1
    assert {name: found[f"classifications_total {name}"] for name in ("delivered", "retryable", "rejected")} == {
        "delivered": 2,
        "retryable": 1,
        "rejected": 1,
    }
    assert found["dead_letters_total rejected"] == 1
    assert found["attempts_sum"] == 4
    assert found["request_duration_seconds_count"] == 4
    assert found["enqueue_to_delivered_seconds_count"] == 2
    assert found["redis_up"] == 1
    assert found["accepted_total"] == 3
    assert found["process_resident_memory_bytes"] > 0


@pytest.mark.parametrize("pool", ["threads", PREFORK])
def test_a_fresh_worker_tells_at_zero_what_alerts_count(empty_stack: LocalStack, tmp_path: Path, pool: str) -> None:
    """Its first scrape comes before its first event, and Prometheus sees the increase."""
    empty_stack.start_broker()
    empty_stack.create_database()
    empty_stack.environment |= {"FEEDBACK_METRICS_PORT": str(free_port()), "AQUILAX_API_KEY": "a-key"}
    if pool == PREFORK:
        (tmp_path / "shared").mkdir()
        empty_stack.environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "shared")
    empty_stack.start_worker(options=["-P", pool, "-c", "1"])

    found = Scrape(empty_stack)

    counted = [f"dead_letters_total {reason}" for reason in Reason] + [f"deliveries_total {end}" for end in ResultKind]
    buckets = [name for name in found if name.startswith("request_duration_seconds_bucket ")]
    assert buckets
    assert {found.get(name) for name in [*counted, *buckets, "leases_lost_total"]} == {0}
    assert found["process_start_time_seconds"] > 0


def test_processes_that_share_no_folder_tell_of_the_queue_alone(stack: LocalStack) -> None:
    """And the worker says so when it starts."""
    worker = stack.start_worker(options=["-P", PREFORK, "-c", "1"])

    assert "PROMETHEUS_MULTIPROC_DIR" in worker.said()
    found = scrape_until(stack, lambda seen: seen["queued_messages"] == 0, what="the queue is empty")
    assert found["accepted_total"] == 3


def test_a_redis_that_is_away_is_told_and_the_rest_is_still_there(stack: LocalStack) -> None:
    """A scrape never fails, and never waits for long."""
    stack.start_worker()
    scrape_until(stack, all_ended, what="all are counted")

    stack.kill(next(part for part in stack.parts if part.name == "valkey"))

    found = scrape_until(stack, lambda seen: seen["redis_up"] == 0, what="it is noticed")
    assert "queued_messages" not in found
    assert found["deliveries_total delivered"] == 2


def test_a_port_in_use_keeps_the_worker_from_starting_and_names_the_setting(stack: LocalStack) -> None:
    """Who watches a worker by its metrics must not watch another one's."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(stack.environment["FEEDBACK_METRICS_PORT"])))
        other.listen()
        ended = subprocess.run(WORKER, env=stack.environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "the worker does not start: metrics can't be served" in ended.stderr
    assert "FEEDBACK_METRICS_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_that_was_stopped_leaves_its_port_to_the_next(stack: LocalStack) -> None:
    """Without a port there is none: nothing listens."""
    port = int(stack.environment["FEEDBACK_METRICS_PORT"])
    worker = stack.start_worker(options=["-P", PREFORK, "-c", "1"])
    worker.process.terminate()
    # billiard's processes may wait for 30 s for a parent to hear of what they did that has ended its loop.
    assert worker.process.wait(45) == 0

    del stack.environment["FEEDBACK_METRICS_PORT"]
    stack.start_worker("second")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
