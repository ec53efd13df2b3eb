"""``python -m benchmarks.target``: a lean stand-in for AquilaX, which answers every request alike after a fixed time.

It reads just enough of HTTP/1.1 to tell requests apart (a GET has no body, so it ends with its first empty line), keeps
connections open, and takes requests that come before the answer to the one before. It notes when each request_id came
first, by the system's monotonic clock, which all processes of a machine share.

    GET /stats       how many requests and request_ids have come, and when
    GET /arrivals    when each request_id came first
    GET /reset       forget all of that
    GET /close       from now on let requests wait, neither noted nor answered
    GET /open        take those that wait, and all that follow

A closed gate lets every worker start, connect and fill its hands before anything is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final, cast

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Target"]

_END: Final = b"\r\n\r\n"
_BODY: Final = b'{"status":"success"}'
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
_TAKEN: Final = _ANSWER % (len(_BODY), _BODY)
_FEEDBACK: Final = b"GET /api/v2/ai/feedback/"
_ID_END: Final = len(_FEEDBACK) + 36


class Target:
    """What has come so far.

    Args:
        latency: Seconds that each answer takes.
    """

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.waiting: list[tuple[bytes, Callable[[], bool]]] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what has come."""
        self.requests = 0
        self.first: dict[bytes, float] = {}
        self.times: list[float] = []
        self.opened_at = 0.0
        self.at_opening = 0

    def arrives(self, request_id: bytes, answer: Callable[[], bool]) -> None:
        """Take a request, or let it wait.

        Args:
            request_id: Its.
            answer: Sends the answer when it is time, and returns whether a connection waits for it.
        """
        if self.waiting is not None:
            self.waiting.append((request_id, answer))
        elif answer():
            self._note(request_id)

    def open(self) -> None:
        """Take what waits."""
        waiting, self.waiting = self.waiting or [], None
        self.opened_at = time.monotonic()
        for request_id, answer in waiting:
            self.arrives(request_id, answer)
        self.at_opening = len(self.times)

    def _note(self, request_id: bytes) -> None:
        self.requests += 1
        if request_id not in self.first:
            self.first[request_id] = now = time.monotonic()
            self.times.append(now)

    def stats(self) -> dict[str, Any]:
        """How many have come, and when the first, the last, and those a tenth from either end."""
        times, tenth = self.times, len(self.times) // 10
        moments = (times[0], times[tenth], times[-1 - tenth], times[-1]) if times else (None,) * 4
        names = ("first_at", "tenth_at", "nine_tenths_at", "last_at")
        return {
            "requests": self.requests,
            "distinct": len(times),
            "waiting": len(self.waiting or ()),
            "at_opening": self.at_opening,
            "opened_at": self.opened_at,
            **dict(zip(names, moments, strict=True)),
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
        elif path == b"/arrivals":
            found = {request_id.decode(): moment for request_id, moment in self.first.items()}
        else:
            found = self.stats()
        body = json.dumps(found).encode()
        return _ANSWER % (len(body), body)


class _Connection(asyncio.Protocol):
    """One connection. All feedback is answered alike and after the same time, so the order of answers is right."""

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

    def _take(self) -> bool:
        if self._transport.is_closing():
            return False
        if self._target.latency:
            self._loop.call_later(self._target.latency, self._write, _TAKEN)
        else:
            self._write(_TAKEN)
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
def main(port: int, latency: float) -> None:
    """Answer until it is ended."""
    asyncio.run(_serve(port, Target(latency)))


if __name__ == "__main__":
    main()
