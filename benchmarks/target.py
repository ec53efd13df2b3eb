"""``python -m benchmarks.target``: a lean stand-in for AquilaX, which answers every request after the same time.

It reads just enough of HTTP/1.1 to tell requests apart (a GET has no body, so it ends with its first empty line), keeps
connections open, and takes requests that come before the answer to the one before. It notes when each request_id came
first, by the system's monotonic clock, which all processes of a machine share.

    GET /stats       how many requests and request_ids have come, and when
    GET /arrivals    when each request_id came first
    GET /reset       forget all of that
    GET /day/NAME    from now on answer as on this day: see `benchmarks.days`
    GET /close       from now on let requests wait, neither noted nor answered
    GET /open        take those that wait, and all that follow

A closed gate lets every worker start, connect and fill its hands before anything is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import click

from benchmarks.days import DAYS, GOOD, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.days import Day

__all__ = ["Target"]

_END: Final = b"\r\n\r\n"
_ANSWER: Final = b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
_BODIES: Final = {
    HTTPStatus.OK: b'{"status":"success"}',
    HTTPStatus.NOT_FOUND: b'{"code":404,"message":"Request ID not found"}',
    HTTPStatus.SERVICE_UNAVAILABLE: b'{"code":503,"message":"Downstream service unavailable"}',
}
_DAY: Final = b"/day/"
_FEEDBACK: Final = b"GET /api/v2/ai/feedback/"
_ID_END: Final = len(_FEEDBACK) + 36


def _answer(status: HTTPStatus, body: bytes) -> bytes:
    return _ANSWER % (status, status.phrase.encode(), len(body), body)


_ANSWERS: Final = {status: _answer(status, body) for status, body in _BODIES.items()}


class Target:
    """What has come so far.

    Args:
        latency: Seconds that each answer takes.
        day: How it answers.
    """

    def __init__(self, latency: float, day: Day = GOOD) -> None:
        self.latency = latency
        self.day = day
        self.waiting: list[tuple[bytes, Callable[[bytes], bool]]] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what has come."""
        self.requests: list[float] = []
        self.first: dict[bytes, float] = {}
        self.times: list[float] = []
        self.taken = 0
        self.opened_at = 0.0
        self.at_opening = 0

    def arrives(self, request_id: bytes, answer: Callable[[bytes], bool]) -> None:
        """Take a request, or let it wait.

        Args:
            request_id: Its.
            answer: Sends an answer when it is time, and returns whether a connection waits for it.
        """
        if self.waiting is not None:
            self.waiting.append((request_id, answer))
            return
        status = status_of(self.day, request_id, is_first=request_id not in self.first)
        if answer(_ANSWERS[status]):
            self._note(request_id)
            self.taken += status == HTTPStatus.OK

    def open(self) -> None:
        """Take what waits."""
        waiting, self.waiting = self.waiting or [], None
        self.opened_at = time.monotonic()
        for request_id, answer in waiting:
            self.arrives(request_id, answer)
        self.at_opening = len(self.times)

    def _note(self, request_id: bytes) -> None:
        now = time.monotonic()
        self.requests.append(now)
        if request_id not in self.first:
            self.first[request_id] = now
            self.times.append(now)

    def stats(self) -> dict[str, Any]:
        """How many have come, and when the first, the last, and those a tenth from either end."""
        return {
            "requests": len(self.requests),
            "distinct": len(self.times),
            "taken": self.taken,
            "waiting": len(self.waiting or ()),
            "at_opening": self.at_opening,
            "opened_at": self.opened_at,
            **_moments(self.times, ("first_at", "tenth_at", "nine_tenths_at", "last_at")),
            **_moments(
                self.requests, ("request_first_at", "request_tenth_at", "request_nine_tenths_at", "request_last_at")
            ),
        }

    def answer(self, path: bytes) -> bytes:
        """Answer a question about what has come."""
        found: dict[str, Any] = {}
        if path == b"/reset":
            self.reset()
        elif path == b"/close":
            self.waiting = []
        elif path == b"/open":
            self.open()
        elif path.startswith(_DAY):
            self.day = DAYS[path[len(_DAY) :].decode()]
        elif path == b"/arrivals":
            found = {request_id.decode(): moment for request_id, moment in self.first.items()}
        else:
            found = self.stats()
        return _answer(HTTPStatus.OK, json.dumps(found).encode())


def _moments(times: list[float], names: tuple[str, str, str, str]) -> dict[str, float | None]:
    tenth = len(times) // 10
    moments = (times[0], times[tenth], times[-1 - tenth], times[-1]) if times else (None,) * 4
    return dict(zip(names, moments, strict=True))


class _Connection(asyncio.Protocol):
    """One connection. All feedback is answered after the same time, so the order of answers is right."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._begun = (self._begun + data).split(_END)
        for request in requests:
            if request.startswith(_FEEDBACK):
                self._target.arrives(request[len(_FEEDBACK) : _ID_END], self._take)
            else:
                self._write(self._target.answer(request.split(b" ", 2)[1]))

    def _take(self, answer: bytes) -> bool:
        if self._transport.is_closing():
            return False
        if self._target.latency:
            self._loop.call_later(self._target.latency, self._write, answer)
        else:
            self._write(answer)
        return True

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(port: int, target: Target) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(target, loop), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--latency", type=float, default=0, show_default=True, help="Seconds that each answer takes.")
@click.option("--day", type=click.Choice(list(DAYS)), default=GOOD.name, show_default=True, help="How it answers.")
def main(port: int, latency: float, day: str) -> None:
    """Answer until it is ended."""
    asyncio.run(_serve(port, Target(latency, DAYS[day])))


if __name__ == "__main__":
    main()
