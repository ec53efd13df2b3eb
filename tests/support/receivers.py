"""Receivers of notifications on this machine: over HTTP, and by mail."""

from __future__ import annotations

import socketserver
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["HttpReceiver", "MailReceiver", "Received", "http_receiver", "mail_receiver"]


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes


@dataclass
class HttpReceiver:
    """A server that takes every POST, until it is told what to respond."""

    port: int
    received: list[Received] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    """Of the next responses; 200 after these."""
    location: str | None = None
    """Where a response of 3xx sends to."""

    @property
    def address(self) -> str:
        """Without a scheme."""
        return f"127.0.0.1:{self.port}"


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """Run one for the length of the block."""
    receiver = HttpReceiver(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            if receiver.location is not None:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the name is the server's

        def log_message(self, *_: Any) -> None:
            pass

    with _served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        receiver.port = port
        yield receiver


@dataclass
class MailReceiver:
    """A mail server that takes everything."""

    port: int
    letters: list[str] = field(default_factory=list)


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    """Run one for the length of the block: as much of SMTP as a client needs that neither logs in nor encrypts."""
    receiver = MailReceiver(0)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                match line.strip().upper()[:4]:
                    case b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        letter = iter(self.rfile.readline, b".\r\n")
                        receiver.letters.append(b"".join(letter).decode())
                        self.wfile.write(b"250 taken\r\n")
                    case b"QUIT":
                        with suppress(OSError):
                            self.wfile.write(b"221 bye\r\n")
                        return
                    case _:
                        self.wfile.write(b"250 well\r\n")

    with _served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        receiver.port = port
        yield receiver


@contextmanager
def _served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
