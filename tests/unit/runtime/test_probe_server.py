"""The server of the probes, and what it says of the database."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import requests

from tests.support.processes import eventually
from worker.broker import activity
from worker.broker.activity import ConsumerActivity
from worker.database.schema import upgrade
from worker.runtime import probe_server as probes
from worker.runtime.probe_server import Probes
from worker.sandbox.stack import free_port
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def probed(database_url: str, port: int) -> Iterator[tuple[Probes, str]]:
    """Serve the probes of a worker that is well but for its database."""
    settings = load_settings(feedback_database_url=database_url, feedback_health_port=port, _env_file=None)
    activity = ConsumerActivity()
    worker: Any = SimpleNamespace(app=SimpleNamespace(feedback=SimpleNamespace(settings=settings, activity=activity)))
    step = Probes(worker)
    step.create(worker)
    activity.answered()
    activity.turned({"feedback"})
    try:
        yield step, f"http://127.0.0.1:{port}"
    finally:
        step.stop(worker)


def ready(url: str) -> tuple[int, str]:
    """What the readiness probe says."""
    answer = requests.get(f"{url}/readyz", timeout=5)
    return answer.status_code, answer.json().get("reason", "")


def test_the_schema_is_waited_for(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that does not fit is no reason to be restarted, and one not to be ready until it is fixed."""
    monkeypatch.setattr(probes, "_LOOK_EVERY", 0.05)
    with probed(sqlite_url, free_port()) as (_, url):
        eventually(lambda: "the dead-letter table is not the one" in ready(url)[1], what="it has looked")
        assert requests.get(f"{url}/livez", timeout=5).status_code == 200

        upgrade(sqlite_url)

        eventually(lambda: ready(url) == (200, ""), what="it is ready")


def test_a_database_that_is_away_at_the_start_keeps_a_worker_from_being_ready() -> None:
    """It is not known whether its schema fits. No word of it says where it is."""
    with probed(f"postgresql://u:s3cret@127.0.0.1:{free_port()}/feedback", free_port()) as (_, url):
        status, reason = ready(url)

        assert (status, reason) == (
            503,
            "the dead-letter database has not answered since the start, so its schema is not checked",
        )


def test_a_worker_that_was_told_to_stop_is_not_ready(sqlite_url: str) -> None:
    """By whatever told it: a signal, or a command."""
    upgrade(sqlite_url)
    with probed(sqlite_url, free_port()) as (step, url):
        eventually(lambda: ready(url) == (200, ""), what="it is ready")

        step.close(cast("Any", None))

        assert ready(url) == (503, "it was told to stop")
        assert requests.get(f"{url}/healthz", timeout=5).json() == {"status": "ok"}


def test_a_worker_that_leaves_is_alive_however_long_that_takes(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event loop does not turn any more; before it was told to stop, that was a hang."""
    monkeypatch.setattr(activity, "STUCK_AFTER", -1.0)
    with probed(sqlite_url, free_port()) as (step, url):
        assert requests.get(f"{url}/livez", timeout=5).status_code == 503

        step.close(cast("Any", None))

        assert requests.get(f"{url}/livez", timeout=5).status_code == 200


def test_a_port_that_is_taken_stops_the_start(sqlite_url: str) -> None:
    """With the name of the setting."""
    port = free_port()
    with probed(sqlite_url, port), pytest.raises(SystemExit, match="FEEDBACK_HEALTH_PORT"), probed(sqlite_url, port):
        pass


def test_after_the_stop_nothing_is_left(sqlite_url: str) -> None:
    """No thread, and no port."""
    upgrade(sqlite_url)
    with probed(sqlite_url, free_port()) as (_, url):
        eventually(lambda: ready(url) == (200, ""), what="it is ready")

    eventually(lambda: not {"health", "schema"} & {thread.name for thread in threading.enumerate()}, what="the end")
    with pytest.raises(requests.ConnectionError):
        ready(url)
