"""A TCP proxy that cuts connections, swallows what goes through them, or delays it."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Proxy"]

_CHUNK: Final = 65536
_LINGER_0: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for 0 seconds: closing sends RST, not FIN (socket(7))."""

T = TypeVar("T")


class Proxy:
    """Stands between the system and its Redis; it listens while its ``with`` block lasts.

    Args:
        port: Of the server on loopback that it leads to.

    Attributes:
        port: Where it listens itself.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self._target = port
        self._chance = random.Random(1)
        self._connections: set[_Connection] = set()
        self._passing = asyncio.Event()
        self._delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """The address of the Redis behind it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._ended.set)
        self._thread.join()

    def cut(self, share: float = 1.0) -> int:
        """Cut a share of the connections at once (RST on both sides), chosen by chance; return how many."""

        def cut() -> int:
            chosen = [each for each in self._connections if self._chance.random() < share]
            for each in chosen:
                each.cut()
            return len(chosen)

        return self._do(cut)

    def swallow(self, *, on: bool) -> None:
        """Let nothing through any more, and keep every connection open: as a broken firewall does."""
        self._do(self._passing.clear if on else self._passing.set)

    def delay(self, seconds: float) -> None:
        """Let everything through so much later."""
        self._delay = seconds

    def _do(self, what: Callable[[], T]) -> T:
        """Do something in the proxy's thread."""

        async def do() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._passing.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()
        for each in list(self._connections):
            each.cut()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, other_writer)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, other_writer, connection))
                both.create_task(self._pass(other_reader, writer, connection))
        finally:
            self._connections.discard(connection)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        connection.cut()


class _Connection:
    """Both halves of a connection through the proxy."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self._writers = writers

    def cut(self) -> None:
        for writer in self._writers:
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
                writer.transport.abort()
