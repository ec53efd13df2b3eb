"""A gateway for tests: in this process, with a producer that records, or as the process that operators start."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.support.environment import clean_environment
from tests.support.processes import Running, eventually, running
from worker.gateway import create_app
from worker.gateway.key_file import add_key
from worker.sandbox.stack import free_port
from worker.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from producer import AsyncFeedbackProducer

__all__ = ["PRESS", "REQUEST_ID", "RunningGateway", "client_of", "running_gateway"]

REQUEST_ID: Final = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
PRESS: Final = f"/api/v2/ai/feedback/{REQUEST_ID}/true?org=my-org&group=my-group"
"""A request of the drop-in."""


def client_of(producer: AsyncFeedbackProducer, *, peer: str = "127.0.0.1", **settings: Any) -> httpx.AsyncClient:
    """Return a client of a gateway in this process; the caller closes it.

    Args:
        producer: Where events go.
        peer: The address that the client has.
        settings: The gateway's, by their names without ``feedback_gateway_``.
    """
    named = {f"feedback_gateway_{name}": value for name, value in settings.items()}
    app = create_app(load_settings(_env_file=None, **named), producer=producer)
    transport = httpx.ASGITransport(app, client=(peer, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


@dataclass(frozen=True)
class RunningGateway:
    """A gateway process."""

    url: str
    key: str
    keys_file: Path
    run: Running

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.url.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.Client:
        """Return a client with the key; the caller closes it."""
        return httpx.Client(base_url=self.url, headers={"X-AX-KEY": self.key}, timeout=30, **options)


@contextmanager
def running_gateway(
    folder: Path, broker_url: str, *, verify: Any = True, **environment: str
) -> Iterator[RunningGateway]:
    """Start a gateway with one key, and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, port = folder / "keys.json", free_port()
    key = add_key(keys, "backend")
    settings = {
        "FEEDBACK_BROKER_URL": broker_url,
        "FEEDBACK_GATEWAY_KEYS_FILE": str(keys),
        "FEEDBACK_GATEWAY_PORT": str(port),
        **environment,
    }
    command = [sys.executable, "-m", "worker.operations.cli", "gateway"]
    scheme = "https" if "FEEDBACK_GATEWAY_TLS_CERT" in environment else "http"
    log = folder / "gateway.log"
    with running(command, log=log, env=clean_environment() | {"PATH": os.environ["PATH"]} | settings) as process:
        gateway = RunningGateway(f"{scheme}://127.0.0.1:{port}", key, keys, process)
        with gateway.client(verify=verify) as client:
            eventually(lambda: _answers(client), what=f"the gateway answers; it said {process.output()}")
        yield gateway


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False
