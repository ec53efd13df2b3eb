"""What works, and what is said, where a backend has packages of its own that are named `producer` or `worker`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

CELERY = str(Path(sys.executable).with_name("celery"))
ENQUEUE = """
import os
import worker  # the backend's own
from producer import FeedbackProducer

with FeedbackProducer.from_env(timeout=5) as producer:
    producer.enqueue("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", True, org="o", group=worker.GROUP)
"""


@pytest.fixture
def backend(tmp_path: Path) -> Path:
    """The folder of a backend."""
    return tmp_path


def _package(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)


def _run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "AQUILAX_API_KEY": "k", **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_backend_with_a_package_worker_can_enqueue(backend: Path, valkey: RedisServer) -> None:
    """The producer needs nothing of our package of that name."""
    _package(backend, "worker", "GROUP = 'g'\n")

    assert _run(backend, sys.executable, "-c", ENQUEUE, FEEDBACK_BROKER_URL=valkey.url) == ""
    with valkey.client() as client:
        assert client.llen("feedback") == 1


def test_the_worker_starts_beside_a_package_worker_from_another_folder(backend: Path) -> None:
    """Celery imports from the folder that it is started in before it looks anywhere else."""
    _package(backend, "worker", "GROUP = 'g'\n")
    (backend / "empty").mkdir()
    database = f"sqlite:///{backend}/dead.sqlite3"

    here = _run(backend, CELERY, "-A", "worker", "report", FEEDBACK_DATABASE_URL=database)
    away = _run(backend, CELERY, "--workdir", "empty", "-A", "worker", "report", FEEDBACK_DATABASE_URL=database)

    assert "Module 'worker' has no attribute 'celery'" in here
    assert "software -> celery" in away


@pytest.mark.parametrize(
    "command", [(CELERY, "-A", "worker", "report"), (sys.executable, "-m", "worker.operations.cli", "status")]
)
def test_a_worker_that_finds_another_producer_names_it(backend: Path, command: tuple[str, ...]) -> None:
    """With the file, and with what to do."""
    _package(backend, "producer", "__version__ = '9'\n")

    said = _run(backend, *command, PYTHONPATH=f"{backend}:{ROOT}")

    assert f"the package `producer` is {backend}/producer/__init__.py, not the one of aquilax-feedback" in said
    assert "run the worker from another folder or in an environment of its own" in said
