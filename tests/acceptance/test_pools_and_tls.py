"""The worker over an encrypted connection to Debian's Redis, in each of Celery's pools that serve it."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from producer import FeedbackProducer
from tests.support.certificates import self_signed
from tests.support.processes import eventually, need, running
from worker.sandbox.stack import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.sandbox.stack import LocalStack

PASSWORD = "a-password-of-redis"


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    """A Redis that speaks TLS and asks for a password; one URL serves the producer and the worker."""
    certificate, key = self_signed(tmp_path)
    port = free_port()
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
        "requirepass": PASSWORD,
        "save": "",
        "dir": str(tmp_path),
    }
    command = [need("redis-server"), *(word for name, value in options.items() for word in (f"--{name}", value))]
    with running(command, log=tmp_path / "redis.log") as server:
        eventually(lambda: "Ready to accept connections" in server.output())
        yield (
            f"rediss://127.0.0.1:{port}/0?password={PASSWORD}&db=0&client_name=feedback"
            f"&ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=yes&ssl_ca_certs={certificate}"
        )


@pytest.mark.usefixtures("no_system_certificates")
@pytest.mark.parametrize("pool", ["threads", "processes", "solo", "gevent"])
def test_every_pool_delivers_retries_and_gives_up_over_tls(empty_stack: LocalStack, broker_url: str, pool: str) -> None:
    """What forks makes its connections after the fork; and the password is printed nowhere.

    Celery's own default is `prefork`, so that naming it leaves our choice, threads, as it is: `processes` is the same.
    """
    stack = empty_stack
    stack.create_database()
    stack.environment["FEEDBACK_BROKER_URL"] = broker_url
    delivered, retried, refused = (str(uuid.uuid4()) for _ in range(3))
    with closing(stack.start_sandbox()) as sandbox, FeedbackProducer(broker_url, timeout=5) as producer:
        sandbox.script(retried, [503])
        sandbox.script(refused, [404])
        worker = stack.start_worker(options=["-P", pool, "-c", "2"])

        for request_id in (delivered, retried, refused):
            producer.enqueue(request_id, status=True, org="org-1", group="group-1")

        eventually(lambda: sandbox.received_for(delivered).status == "true")
        eventually(lambda: sandbox.received_for(retried).status == "true")
        eventually(lambda: "dead letter: rejected 404 Request ID not found" in worker.said())
        assert sandbox.received().max_in_flight == 1
    stack.stop(worker)
    assert PASSWORD not in worker.said()
