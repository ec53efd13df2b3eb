"""The HTTP client of these tests, and a server that says what it is told to."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from pydantic import SecretStr

from producer import FeedbackEvent
from tests.support.raw_http import Peer, raw_http
from worker.clients.aquilax.client import AquilaX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.concurrency.gevent_scheduler import GeventScheduler
    from worker.policy.classification import Response


KEY = "ax-key-t0p-s3cret"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REQUEST_ID = "77e81bbc-3e7f-47b9-87fa-681b5d2f54e6"
EVENT = FeedbackEvent(request_id=REQUEST_ID, status=True, org="acme", group="chat", occurred_at=NOW)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class ScheduledAquilaX(AquilaX):
    """A client whose requests run under a scheduler."""

    scheduler: GeventScheduler | None = None

    def send(self, event: FeedbackEvent) -> Response:
        """As the client's; from any thread."""
        if self.scheduler is None:
            return super().send(event)
        answer: Future[Response] = Future()
        send = partial(super().send, event)

        def task() -> None:
            try:
                answer.set_result(send())
            except Exception as error:  # noqa: BLE001 - it is the test's
                answer.set_exception(error)

        self.scheduler.submit(task, tag="")
        return answer.result()


@contextmanager
def client(url: str, *, key: str = KEY, timeout: float = 5.0, connections: int = 4) -> Iterator[AquilaX]:
    """A client for a server."""
    aquilax = ScheduledAquilaX(
        url, SecretStr(key), timeout=timedelta(seconds=timeout), connections=connections, now=lambda: NOW
    )
    try:
        yield aquilax
    finally:
        if ScheduledAquilaX.scheduler is None:
            aquilax.close()  # else its connections are closed as the scheduler stops


def answer_to(said: bytes, *, event: FeedbackEvent = EVENT, key: str = KEY) -> tuple[Response, str]:
    """Send an event to a server that says this and closes; return the answer, and the request's head."""

    def say(peer: Peer, _: str) -> None:
        peer.say(said)
        peer.socket.close()

    with raw_http(say) as server, client(server.url, key=key) as aquilax:
        return aquilax.send(event), server.requests[0]


def header(head: str, name: str) -> str:
    """The value of a request's header."""
    lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return lines[name]


def no_answer(answer: Response) -> str:
    """Why no answer came."""
    assert answer.status is None
    assert KEY not in answer.text
    return answer.text
