"""``python -m benchmarks.requesting``: send HTTP requests as fast as a server answers, and tell how many, as JSON."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import cycle
from typing import TYPE_CHECKING, Final, cast

import click
import uvloop

from benchmarks.events import GROUP, ORG, PATH, events, request_ids
from benchmarks.sample import quantile

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUPPLY: Final = 1000
"""Different requests; they are repeated."""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class _Load:
    """What all connections share.

    Args:
        requests: What they send.
        seconds: For how long.
    """

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests: Iterator[bytes] = cycle(requests)
        self.until = time.perf_counter() + seconds
        self.took: list[float] = []
        self.refused = 0


class _Client(asyncio.Protocol):
    """One connection, which sends the next request when the last one was answered."""

    def __init__(self, load: _Load) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._load = load
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(_END)
        lengths = head.lower().partition(_LENGTH)[2].split(b"\r\n", 1)[0]
        if not end or len(body) < int(lengths):
            return
        self._received = b""
        self._load.took.append(time.perf_counter() - self._began)
        self._load.refused += not head.startswith(b"HTTP/1.1 200 ")
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the server has closed the connection"))

    def _send(self) -> None:
        self._began = time.perf_counter()
        if self._began < self._load.until:
            self._transport.write(next(self._load.requests))
        else:
            self.ended.set_result(None)
            self._transport.close()


async def _run(port: int, connections: int, load: _Load) -> dict[str, float]:
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    clients = [(await loop.create_connection(lambda: _Client(load), "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.gather(*(client.ended for client in clients))
    seconds, ordered = time.perf_counter() - began, sorted(load.took)
    if load.refused:
        raise click.ClickException(f"{load.refused} of {len(ordered)} requests were not answered with 200")
    p50, p99 = (quantile(ordered, part) * 1e3 for part in (0.5, 0.99))
    return {"requests/s": len(ordered) / seconds, "requests": len(ordered), "p50 ms": p50, "p99 ms": p99}


def _presses(headers: str) -> list[bytes]:
    query = f"org={ORG}&group={GROUP}"
    return [f"GET {PATH}/{name}/true?{query} HTTP/1.1\r\n{headers}\r\n".encode() for name in request_ids(_SUPPLY)]


def _uploads(headers: str, batch: int) -> list[bytes]:
    lines = [json.dumps(event).encode() + b"\n" for event in events(batch)]
    body = b"".join(lines)
    more = f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n"
    return [f"POST /v1/feedback HTTP/1.1\r\n{headers}{more}\r\n".encode() + body]


@click.command()
@click.argument("port", type=int)
@click.option("--connections", type=int, required=True)
@click.option("--seconds", type=float, required=True)
@click.option("--batch", type=int, default=1, show_default=True, help="Events of one request; NDJSON if several.")
@click.option("--key", default="", help="For the header X-AX-KEY.")
def main(port: int, connections: int, seconds: float, batch: int, key: str) -> None:
    """Ask the server on PORT."""
    headers = f"Host: 127.0.0.1:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\nX-AX-KEY: {key}\r\n"
    requests = _presses(headers) if batch == 1 else _uploads(headers, batch)
    click.echo(json.dumps(uvloop.run(_run(port, connections, _Load(requests, seconds)))))


if __name__ == "__main__":
    main()
