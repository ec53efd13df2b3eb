"""A chat backend installs the producer, and with it redis-py and nothing else."""

from __future__ import annotations

import json
import sys
from importlib.metadata import requires
from pathlib import Path
from subprocess import run
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from tests.support.processes import RedisServer

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


def _run(program: Path | str, *arguments: str) -> str:
    done = run([str(program), *arguments], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def base_install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel in it, and what the wheel itself asks for."""
    return _install(str(wheel), tmp_path_factory.mktemp("base"))


def _install(requirement: str, folder: Path) -> Path:
    uv, python = Path(sys.executable).with_name("uv"), folder / "bin" / "python"
    _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
    _run(uv, "pip", "install", "--quiet", "--python", str(python), requirement)
    return python


def test_it_brings_redis_py_and_nothing_else(base_install: Path) -> None:
    """Every dependency is one more thing that may clash with the backend's own."""
    installed = set(json.loads(_run(base_install, "-c", LIST)))

    of_redis = {
        need.name.lower()
        for need in map(Requirement, requires("redis") or [])
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    assert installed == {"aquilax-feedback", "redis"} | of_redis


def test_it_enqueues_from_threads_and_from_loops(base_install: Path, valkey: RedisServer, tmp_path: Path) -> None:
    """Outside of this tree, on what was installed alone."""
    script = tmp_path / "enqueue.py"
    script.write_text(ENQUEUE)

    _run(base_install, "-I", str(script), valkey.url)

    with valkey.client() as client:
        assert client.llen("feedback") == 2


@pytest.mark.alone
def test_importing_it_is_light(base_install: Path) -> None:
    """A backend imports it at its start: it waits neither for redis-py nor for anything of the worker."""
    seconds, *imported = min(_run(base_install, "-I", "-c", IMPORTED).split() for _ in range(3))

    assert {"producer"} <= set(imported)
    assert not {"redis", "worker", "celery", "kombu", "requests", "sqlalchemy", "pydantic", "opentelemetry"} & set(
        imported
    )
    assert float(seconds) < 0.5


def test_the_outbox_says_what_else_to_install(base_install: Path) -> None:
    """The wheel brings the package, and the base install not SQLAlchemy."""
    done = run(
        [str(base_install), "-I", "-c", "import producer.outbox"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 1
    assert "producer.outbox needs SQLAlchemy: pip install 'aquilax-feedback[outbox]'\n" in done.stderr


def test_its_command_says_what_else_to_install(base_install: Path) -> None:
    """The wheel brings the command, and the base install not what the command needs."""
    done = run([base_install.with_name("aquilax-feedback")], capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 1
    assert done.stderr == "aquilax-feedback: its commands need more: pip install 'aquilax-feedback[worker]'\n"


def test_the_worker_extra_brings_all_that_a_worker_needs(wheel: Path, valkey: RedisServer, tmp_path: Path) -> None:
    """No more than `pip install aquilax-feedback[worker]`, away from this tree: the table, the app and its broker."""
    python = _install(f"{wheel}[worker]", tmp_path / "venv")
    environment = {"FEEDBACK_BROKER_URL": valkey.url, "FEEDBACK_DATABASE_URL": f"sqlite:///{tmp_path}/dead.sqlite3"}

    for command in (["aquilax-feedback", "db", "upgrade"], ["celery", "-A", "worker", "purge", "-f"]):
        program, *arguments = command
        done = run(
            [python.with_name(program), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
