"""HTTP servers that say, byte for byte, what a test tells them to: also what no well-made server would say."""

from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Peer", "RawHttp", "raw_http", "response"]


def response(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; a header's ``_`` is a ``-``."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines])
    return f"{head}\r\n\r\n".encode("latin-1") + body


@dataclass
class Peer:
    """One connection, from the server's side."""

    socket: socket.socket
    ended: Event
    """Set when the test is over: what trickles or hangs stops then."""

    def say(self, *parts: bytes, every: float = 0.0) -> None:
        """Send each part, with a pause after it; end quietly if the peer is gone."""
        with suppress(OSError):
            for part in parts:
                self.socket.sendall(part)
                if every and self.ended.wait(every):
                    return

    def hang(self) -> None:
        """Say nothing until the test is over."""
        self.ended.wait(30)

    def reset(self) -> None:
        """Close as a crashed process does: with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


@dataclass
class RawHttp:
    """A running server."""

    port: int
    scheme: str = "http"
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextmanager
def raw_http(answer: Callable[[Peer, str], None], *, tls: tuple[Path, Path] | None = None) -> Iterator[RawHttp]:
    """Serve in a thread per connection; `answer` gets each request's head, and may say or do anything."""
    ended = Event()
    threads: list[Thread] = []
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        server = RawHttp(listener.getsockname()[1], "https" if tls else "http")

        def accept() -> None:
            with suppress(OSError):  # the listener was shut down
                while True:
                    taken = opened.enter_context(listener.accept()[0])
                    server.connections += 1
                    threads.append(Thread(target=_serve, args=(taken, server, answer, ended, tls)))
                    threads[-1].start()

        accepting = Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            opened.close()
            for thread in threads:
                thread.join()


def _serve(
    taken: socket.socket,
    server: RawHttp,
    answer: Callable[[Peer, str], None],
    ended: Event,
    tls: tuple[Path, Path] | None,
) -> None:
    taken.settimeout(0.05)
    with suppress(OSError), _encrypted(taken, tls) as stream:
        while not ended.is_set():
            head = _head(stream, ended)
            if not head:
                return
            with server.lock:
                server.requests.append(head)
            stream.settimeout(5)
            answer(Peer(stream, ended), head)
            stream.settimeout(0.05)


def _encrypted(taken: socket.socket, tls: tuple[Path, Path] | None) -> socket.socket:
    if tls is None:
        return taken
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    taken.settimeout(5)
    stream = context.wrap_socket(taken, server_side=True)
    stream.settimeout(0.05)
    return stream


def _head(stream: socket.socket, ended: Event) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        try:
            byte = stream.recv(1)
        except TimeoutError:
            if ended.is_set():
                return ""
            continue
        if not byte:
            return ""
        head += byte
    return head.decode("latin-1")
