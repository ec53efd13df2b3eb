"""The examples of clients run before a real gateway: curl, Node's fetch, and a page in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from producer import FeedbackEvent
from tests.support.browser import a_page, chromium
from tests.support.gateway import REQUEST_ID, RunningGateway, running_gateway
from tests.support.processes import ROOT, RedisServer, need
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLES = ROOT / "examples" / "gateway"
PORT = free_port()
ORIGIN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def shared(_valkey: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway, which lets pages of one origin in."""
    folder = tmp_path_factory.mktemp("gateway")
    with running_gateway(folder, _valkey.url, FEEDBACK_GATEWAY_ALLOWED_ORIGINS=ORIGIN) as gateway:
        yield gateway


def queued(valkey: RedisServer) -> list[FeedbackEvent]:
    """The events in Redis, in the order in which they came."""
    with valkey.client() as client:
        messages: list[Any] = client.lrange("feedback", 0, -1)
    return [FeedbackEvent.from_wire(json.loads(json.loads(message)["body"])[1]) for message in reversed(messages)]


def test_the_calls_of_curl_in_the_documentation(shared: RunningGateway, valkey: RedisServer, tmp_path: Path) -> None:
    """As they stand there: one press, and a file of them."""
    need("curl")
    calls = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "gateway.md").read_text(), re.MULTILINE | re.DOTALL)
    event = {"request_id": REQUEST_ID, "status": False, "org": "o", "group": "g"}
    (tmp_path / "presses.ndjson").write_text(f"{json.dumps(event)}\n" * 3)
    environment = {"PATH": os.environ["PATH"], "KEY": shared.key, "GATEWAY": shared.url}

    run = partial(subprocess.run, env=environment, cwd=tmp_path, capture_output=True, check=True)
    said = [json.loads(run(["sh", "-ec", call]).stdout) for call in calls]

    assert said[0] == {"message": "Feedback submitted successfully"}
    assert (said[1]["taken"], said[1]["invalid"]) == (3, 0)
    assert [event.status for event in queued(valkey)] == [True, False, False, False]


def test_the_example_for_node(shared: RunningGateway, valkey: RedisServer) -> None:
    """Its fetch sends a stream in chunks."""
    command = [need("node"), str(EXAMPLES / "press.mjs"), REQUEST_ID, "true"]
    environment = {"PATH": os.environ["PATH"], "KEY": shared.key, "GATEWAY": shared.url}

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)

    report = json.loads(ended.stdout)
    assert (report["taken"], report["problems"][0]["line"], report["problems"][0]["field"]) == (1, 2, "status")
    assert [(event.org, event.status) for event in queued(valkey)] == [("my-org", True)] * 2


@contextmanager
def served(port: int) -> Iterator[None]:
    """The folder of examples on a port, as a web site."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=EXAMPLES)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("allowed", "said"), [(True, "Thank you"), (False, "Not sent")])
def test_the_page_presses_from_an_allowed_origin_alone(
    allowed: bool, said: str, shared: RunningGateway, valkey: RedisServer
) -> None:
    """A browser keeps the press of any other page back: it asks first whether that may send a key."""
    port = PORT if allowed else free_port()
    with served(port), chromium() as browser, a_page(browser) as page:
        page.goto(f"http://127.0.0.1:{port}/press.html#gateway={shared.url}&key={shared.key}")
        page.get_by_role("button", name="👎").click()
        page.locator("output", has_text=said).wait_for()

    assert [event.status for event in queued(valkey)] == ([False] if allowed else [])
