"""What a request to the gateway costs, beside a handler without Redis and one that calls Celery; and NDJSON."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import requests

from benchmarks.consumers import OURS
from benchmarks.sample import Measurement, Sample
from benchmarks.servers import rig
from benchmarks.usage import usage
from worker.gateway.key_file import add_key
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Plan
    from benchmarks.servers import Rig

__all__ = ["GATEWAY", "gateway"]

_SECONDS: Final = 4
_CONNECTIONS: Final = 64
_BATCH: Final = 500
_UPLOADS: Final = 4
"""Connections that send NDJSON at once."""

GATEWAY: Final = Measurement(
    name="gateway",
    title="Gateway",
    text=f"One server process is asked over {_CONNECTIONS} connections, each of which asks again when it was answered, "
    f"for {_SECONDS} s; with NDJSON, over {_UPLOADS}. CPU is the server's, for a request or an event. The handler that "
    "answers without Redis runs on the gateway's framework and server, with uvicorn's log of each request and without. "
    "The producer's own `enqueue_many` stands beside NDJSON. Server, client and Redis share the machine's cores.",
)


@dataclass(frozen=True, kw_only=True)
class _HttpServer:
    """A server; with what it is started by, and its environment."""

    name: str
    setup: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


_HANDLER: Final = "benchmarks.limits.handler:app"
_UVICORN: Final = ("-m", "uvicorn", "--host", "127.0.0.1", "--log-level", "info")
_GATEWAY: Final = ("-m", "worker.operations.cli", "gateway")
_QUIET: Final = "no log of requests"
_SERVERS: Final = (
    _HttpServer(name=OURS, setup="a line for each request", command=_GATEWAY),
    _HttpServer(name=f"{OURS}, quiet", setup=_QUIET, command=_GATEWAY, environment=(("FEEDBACK_LOG_SAMPLE", "0"),)),
    _HttpServer(
        name="no queue: a handler", setup="a line for each request", command=(*_UVICORN, _HANDLER)
    ),
    _HttpServer(
        name="no queue: a handler, quiet", setup=_QUIET,
        command=(*_UVICORN, "--no-access-log", _HANDLER),
    ),
    _HttpServer(
        name="FastAPI and apply_async", setup=_QUIET,
        command=(*_UVICORN, "--no-access-log", "benchmarks.peers.fastapi_celery:app"),
    ),
)  # fmt: skip


def gateway(plan: Plan) -> Iterator[Sample]:
    """Measure every server, and the producer, round by round."""
    servers_asked = plan.chosen(_SERVERS, name=lambda server: server.name)
    with rig() as servers, closing(servers.start_redis()) as client:
        key = add_key(servers.folder / "keys.json", "bench")
        servers.environment["FEEDBACK_GATEWAY_KEYS_FILE"] = str(servers.folder / "keys.json")
        for _ in range(plan.rounds):
            for server in servers_asked:
                plan.tell(f"presses: {server.name}")
                client.flushall()
                yield _asked(servers, server, key, connections=_CONNECTIONS, batch=1)
            plan.tell(f"NDJSON: {OURS}")
            client.flushall()
            yield _asked(servers, _SERVERS[0], key, connections=_UPLOADS, batch=_BATCH)
            plan.tell("NDJSON: enqueue_many")
            client.flushall()
            yield _produced(servers)


def _asked(servers: Rig, server: _HttpServer, key: str, *, connections: int, batch: int) -> Sample:
    port, before = free_port(), dict(servers.environment)
    servers.environment |= {"FEEDBACK_GATEWAY_PORT": str(port), **dict(server.environment)}
    where = () if server.command == _GATEWAY else ("--port", str(port))
    url = f"http://127.0.0.1:{port}/healthz"
    command = [sys.executable, *server.command, *where]
    part = servers.start_server(
        "http", command, lambda: bool(requests.get(url, timeout=5)) or True, but=requests.RequestException
    )
    try:
        used = usage([part.process.pid]).cpu
        limits = ("--connections", str(connections), "--seconds", str(_SECONDS), "--batch", str(batch), "--key", key)
        told = json.loads(servers.run_python("-m", "benchmarks.requesting", str(port), *limits))
        events = told["requests"] * batch
        cpu = (usage([part.process.pid]).cpu - used) / events * 1e6
    finally:
        servers.stop(part)
        servers.environment = before
    rate = {"requests/s": told["requests/s"], "CPU µs/request": cpu}
    if batch > 1:
        rate = {"events/s": told["requests/s"] * batch, "CPU µs/event": cpu}
    figures = rate | {"p50 ms": told["p50 ms"], "p99 ms": told["p99 ms"]}
    case = "presses" if batch == 1 else f"NDJSON, bodies of {batch} lines"
    return Sample(case=case, subject=server.name, setup=server.setup, figures=figures)


def _produced(servers: Rig) -> Sample:
    sender = ("-m", "benchmarks.sending", "benchmarks.ours:Asynchronous", "--events", "1000000")
    how = ("--seconds", str(_SECONDS), "--concurrency", str(_UPLOADS), "--batch", str(_BATCH))
    told = json.loads(servers.run_python(*sender, *how))
    figures = {
        "events/s": told["events/s"],
        "CPU µs/event": told["CPU µs/event"],
        "p50 ms": told["call p50 µs"] / 1e3,
        "p99 ms": told["call p99 µs"] / 1e3,
    }
    return Sample(
        case=f"NDJSON, bodies of {_BATCH} lines", subject="enqueue_many", setup="AsyncFeedbackProducer", figures=figures
    )
