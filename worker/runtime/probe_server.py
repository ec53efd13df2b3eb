"""The port on which a worker answers liveness and readiness probes, such as those of Kubernetes; a step of its start.

A probe reads what the process has noted of itself (`worker.broker.activity`), in a thread of its own: it asks neither
Redis nor the database, so none of them can keep it from answering.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, cast

from celery.signals import worker_shutting_down

from worker.database.errors import DeadLetterError, DeadLetterStoreUnavailable
from worker.database.schema import checked_engine
from worker.runtime.bootsteps import ListeningStep, port_error
from worker.runtime.container import container_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from celery.worker import WorkController

    Probe = Callable[[], str | None]

__all__ = ["Probes"]

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 10.0
"""Seconds between tries to check the schema, while the database is unavailable."""

_OTHER_TABLE: Final = "the dead-letter table is not the one that this release needs: see `aquilax-feedback doctor`"
_UNCHECKED: Final = "the dead-letter database has not answered since the start, so its schema is not checked"


class Probes(ListeningStep):
    """Answers while the worker runs, if it is given a port.

    ``/livez`` (or ``/healthz``) fails if only a restart helps. ``/readyz`` fails while the worker can't do its work.
    """

    def __init__(self, worker: WorkController, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._activity = container_of(worker.app).activity
        self._server: _Server | None = None
        self._leaving = False
        self._schema: str | None = _UNCHECKED
        self._stop = threading.Event()

    def include_if(self, worker: WorkController) -> bool:
        """Without a port nothing listens."""
        return container_of(worker.app).settings.feedback_health_port is not None

    def create(self, worker: WorkController) -> None:
        """Listen from the first: a worker that waits for Redis is alive, and not ready."""
        settings = container_of(worker.app).settings
        host, port = settings.feedback_health_host, settings.feedback_health_port
        try:
            probes = {"/livez": self._hang, "/healthz": self._hang, "/readyz": self._unready}
            self._server = _Server(host, port or 0, probes)
        except OSError as error:
            raise SystemExit(port_error("HEALTH", host, port, error)) from None
        worker_shutting_down.connect(self._leave)
        url = settings.feedback_database_url.get_secret_value()
        for name, run in (("health", self._server.serve_forever), ("schema", lambda: self._check_schema(url))):
            threading.Thread(target=run, name=name, daemon=True).start()

    def close(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """Be no longer ready, where no signal has stopped the worker but a command, or a fault."""
        self._leave()

    def stop(self, worker: WorkController) -> None:  # noqa: ARG002 - the signature is Celery's
        """Listen no more."""
        self._stop.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _leave(self, **_: object) -> None:
        self._leaving = True

    def _hang(self) -> str | None:
        """Return what only a restart helps; of a worker that leaves nothing does, as its end has a deadline."""
        return None if self._leaving else self._activity.hang()

    def _unready(self) -> str | None:
        """Return why the worker is not ready; None if it is."""
        if self._leaving:
            return "it was told to stop"
        return self._activity.trouble() or self._schema

    def _check_schema(self, url: str) -> None:
        """Check the schema until the database has said what it is; the start goes on without it."""
        while True:
            try:
                with checked_engine(url):
                    self._schema = None
                    return
            except DeadLetterStoreUnavailable:
                self._schema = _UNCHECKED
            except DeadLetterError as error:
                log.error("not ready: %s", error)  # noqa: TRY400 - the message says it all; a traceback would not help an operator
                self._schema = _OTHER_TABLE
            if self._stop.wait(_LOOK_EVERY):
                return


class _Server(ThreadingHTTPServer):
    """Answers each path with what its probe says."""

    daemon_threads = True

    def __init__(self, host: str, port: int, probes: Mapping[str, Probe]) -> None:
        self.probes = probes
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = 5  # seconds: who connects and says nothing keeps a thread no longer

    def do_GET(self) -> None:
        """Answer with JSON: 200 if all is well, else 503 and the reason."""
        probe = cast("_Server", self.server).probes.get(self.path.partition("?")[0])
        if probe is None:
            return self._answer(HTTPStatus.NOT_FOUND, {"error": "ask for /livez or /readyz"})
        reason = probe()
        if reason is None:
            return self._answer(HTTPStatus.OK, {"status": "ok"})
        return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"status": "failing", "reason": reason})

    def _answer(self, status: HTTPStatus, content: dict[str, str]) -> None:
        body = f"{json.dumps(content)}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is that of http.server
        """Keep quiet: a probe comes every few seconds."""
