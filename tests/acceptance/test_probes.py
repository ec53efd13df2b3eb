"""Whether a worker is well, as a real one tells it: by its heartbeat, and to liveness and readiness probes."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import requests

from producer import FeedbackEvent, FeedbackProducer
from tests.support.processes import eventually
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from worker.sandbox.stack import LocalStack

PLACES = 2


def full_worker(stack: LocalStack, *options: str) -> str:
    """Start a worker all of whose places wait for slow answers, and return the address of its probes."""
    stack.start_broker()
    stack.create_database()
    port = free_port()
    stack.environment |= {
        "FEEDBACK_CONCURRENCY": str(PLACES),
        "FEEDBACK_HEALTH_PORT": str(port),
        "FEEDBACK_REQUEST_TIMEOUT": "100",
        "TMPDIR": str(stack.folder),
    }
    with closing(stack.start_sandbox(["--latency=90"])) as sandbox:
        stack.start_worker(options=options)
        events = [FeedbackEvent(request_id=str(uuid.uuid4()), status=True, org="o", group="g") for _ in range(20)]
        with FeedbackProducer(stack.environment["FEEDBACK_BROKER_URL"], timeout=5) as producer:
            producer.enqueue_many(events)
        eventually(lambda: sandbox.received().requests == PLACES, what="every place waits for an answer")
    return f"http://127.0.0.1:{port}"


def probe(address: str) -> tuple[int, dict[str, Any]]:
    """Ask; a connection that is cut or not taken, as a busy machine may do, is no answer: status 0."""
    try:
        answer = requests.get(address, timeout=5)
    except requests.ConnectionError as error:
        return 0, {"reason": str(error)}
    return answer.status_code, answer.json()


def health(stack: LocalStack, *options: str) -> int:
    """The exit status of `aquilax-feedback health`."""
    command = [sys.executable, "-m", "worker.operations.cli", "health", *options]
    return subprocess.run(command, env=stack.environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("pool", ["feedback", "prefork", "gevent"])
def test_a_worker_tells_the_truth_of_itself(empty_stack: LocalStack, pool: str) -> None:
    """Full of slow answers it is well. Without Redis it is alive, and not ready; and so it is while it leaves."""
    stack = empty_stack
    url = full_worker(stack, *([] if pool == "feedback" else ["--pool", pool]))
    worker, broker = stack.parts[-1], stack.parts[0]
    (file,) = stack.folder.glob("aquilax-feedback-*/*.heartbeat")
    since = file.stat().st_mtime

    eventually(lambda: file.stat().st_mtime > since + 5, what="it beats although nothing is fetched")
    assert probe(f"{url}/livez") == probe(f"{url}/readyz") == (200, {"status": "ok"})
    assert health(stack) == health(stack, "-n", "worker1@%h") == 0
    assert health(stack, "-n", "worker2@%h") == 1
    assert probe(f"{url}/")[0] == 404

    broker.process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: probe(f"{url}/readyz")[0] == 503, what="it is not ready without Redis")
        assert "Redis has not answered for" in probe(f"{url}/readyz")[1]["reason"]
        assert probe(f"{url}/livez")[0] == 200
    finally:
        broker.process.send_signal(signal.SIGCONT)
    eventually(lambda: probe(f"{url}/readyz")[0] == 200, what="it is ready again")

    worker.process.terminate()
    leaves = {"status": "failing", "reason": "it was told to stop"}
    eventually(lambda: probe(f"{url}/readyz") == (503, leaves), what="it is not ready while it leaves")
    eventually(lambda: probe(f"{url}/livez")[0] == 200, what="it is alive while it leaves")
    worker.process.kill()
    worker.process.wait()

    assert health(stack) == 1
