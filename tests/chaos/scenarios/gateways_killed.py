"""Gateways that are killed and rolled while clients press: one press, and bodies of NDJSON."""

from __future__ import annotations

import json
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

import requests

from tests.chaos.load import event_of
from tests.chaos.scenario import Scenario
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.run import Run
    from worker.sandbox.stack import Part

__all__ = ["SCENARIOS"]

_GATEWAYS: Final = 2
_CLIENTS: Final = 4
_LINES: Final = 30
_PATIENCE: Final = 10
_FAULTS: Final = 8


class _Client(threading.Thread):
    """Presses until each press is answered with 2xx, by one gateway or the other; every other time a body of them.

    Attributes:
        answered: The request_ids of those presses.
    """

    def __init__(self, urls: Sequence[str], request_ids: Iterator[str], lock: threading.Lock) -> None:
        super().__init__(name="client", daemon=True)
        self.answered: list[str] = []
        self._urls = urls
        self._request_ids = request_ids
        self._lock = lock
        self._session = requests.Session()

    def run(self) -> None:
        """Press until the request_ids are used up."""
        with self._session:
            number = 0
            while chunk := self._next(1 if number % 2 else _LINES):
                number += 1
                while chunk:
                    taken = self._send(self._urls[number % len(self._urls)], chunk)
                    self.answered += chunk[:taken]
                    chunk = chunk[taken:]
                    if chunk:
                        number += 1
                        time.sleep(0.05)

    def _next(self, count: int) -> list[str]:
        with self._lock:
            return list(islice(self._request_ids, count))

    def _send(self, url: str, request_ids: list[str]) -> int:
        """Send presses, and return how many of them, from the first on, are answered to be taken."""
        events = [event_of(request_id).to_wire() for request_id in request_ids]
        try:
            if len(events) == 1:
                event = events[0]
                path = f"{url}/api/v2/ai/feedback/{event['request_id']}/{event['status']}"
                query = {"org": event["org"], "group": event["group"]}
                return int(self._session.get(path, params=query, timeout=_PATIENCE).status_code == requests.codes.ok)
            lines = (f"{json.dumps(event)}\n".encode() for event in events)
            headers = {"Content-Type": "application/x-ndjson"}
            answer = self._session.post(f"{url}/v1/feedback", data=lines, headers=headers, timeout=_PATIENCE)
            return int(answer.json().get("taken", 0))
        except requests.RequestException:
            return 0


def _killed(run: Run) -> None:
    """One gateway after the other ends, by SIGKILL and by SIGTERM in turns, and another takes its address."""
    run.start_workers(2)
    ports = [free_port() for _ in range(_GATEWAYS)]
    gateways = [_launch(run, port) for port in ports]
    for gateway in gateways:
        run.system.await_said(gateway, "Uvicorn running")
    urls, request_ids, lock = (
        [f"http://127.0.0.1:{port}" for port in ports],
        run.numbers.take(run.events),
        threading.Lock(),
    )
    clients = [_Client(urls, request_ids, lock) for _ in range(_CLIENTS)]
    for client in clients:
        client.start()
    for _ in range(_FAULTS):
        run.pause(0.5)
        gateway, port = gateways.pop(0), ports[run.faults % _GATEWAYS]
        if run.faults % _GATEWAYS ^ run.faults // _GATEWAYS % 2:
            run.system.stop(gateway)
        else:
            run.system.kill(gateway)
        run.faults += 1
        run.over()
        gateways.append(_launch(run, port))
        run.system.await_said(gateways[-1], "Uvicorn running")
    run.eventually(lambda: not any(client.is_alive() for client in clients), what="all presses are answered")
    run.acknowledged += [each for client in clients for each in client.answered]
    run.drain()
    run.require(len(run.acknowledged) == run.events, f"{len(run.acknowledged)} of {run.events} presses were answered")
    run.require(all("Traceback" not in gateway.said() for gateway in gateways), "a gateway's log has a traceback")
    twice = run.counts().get("duplicate", 0)
    run.notes.append(
        f"{len(run.acknowledged):,} presses were answered by gateways, {run.faults} of which were killed or stopped; "
        f"{twice:,} were taken twice, and delivered once"
    )


def _launch(run: Run, port: int) -> Part:
    settings = [f"FEEDBACK_GATEWAY_PORT={port}", "FEEDBACK_LOG_SAMPLE=0"]
    command = ["env", *settings, sys.executable, "-m", "worker.operations.cli", "gateway"]
    return run.system.launch(f"gateway-{port}", command)


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="gateways killed and rolled",
        play=_killed,
        events=10_000,
    ),
)
