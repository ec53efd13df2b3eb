"""A chat backend installs the producer, and with it redis-py and nothing else."""

from __future__ import annotations

import json
import sys
from importlib.metadata import requires
from subprocess import run
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import RedisServer

ENQUEUE = """
import asyncio, sys
from producer import AsyncFeedbackProducer, FeedbackProducer

fields = dict(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g")

async def enqueue():
    async with AsyncFeedbackProducer(sys.argv[1], timeout=5) as producer:
        await producer.enqueue(**fields)

with FeedbackProducer(sys.argv[1], timeout=5) as producer:
    producer.enqueue(**fields)
asyncio.run(enqueue())
"""

LIST = """
import json
from importlib.metadata import distributions
print(json.dumps(sorted({d.name.lower().replace("_", "-") for d in distributions()})))
"""

IMPORTED = """
import sys, time
began = time.perf_counter()
import producer
print(time.perf_counter() - began, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def _python(python: Path | str, *arguments: str) -> str:
    done = run([str(python), *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def base_install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel of this tree in it, and what the wheel itself asks for."""
    folder = tmp_path_factory.mktemp("install")
    _python(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    _python(sys.executable, "-m", "venv", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    _python(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    return python


def test_it_brings_redis_py_and_nothing_else(base_install: Path) -> None:
    """Every dependency is one more thing that may clash with the backend's own."""
    installed = set(json.loads(_python(base_install, "-c", LIST)))

    of_redis = {
        need.name.lower()
        for need in map(Requirement, requires("redis") or [])
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    brought_by_venv = {"pip", "setuptools"}
    assert installed - brought_by_venv == {"aquilax-feedback", "redis"} | of_redis


def test_it_enqueues_from_threads_and_from_loops(base_install: Path, valkey: RedisServer, tmp_path: Path) -> None:
    """Outside of this tree, on what was installed alone."""
    script = tmp_path / "enqueue.py"
    script.write_text(ENQUEUE)

    _python(base_install, "-I", str(script), valkey.url)

    with valkey.client() as client:
        assert client.llen("feedback") == 2


def test_importing_it_is_light(base_install: Path) -> None:
    """A backend imports it at its start: it waits neither for redis-py nor for anything of the worker."""
    seconds, *imported = min(_python(base_install, "-I", "-c", IMPORTED).split() for _ in range(3))

    assert {"producer"} <= set(imported)
    assert not {"redis", "worker", "celery", "kombu", "requests", "sqlalchemy", "pydantic"} & set(imported)
    assert float(seconds) < 0.5
