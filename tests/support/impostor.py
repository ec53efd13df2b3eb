"""Servers that look like Redis to a client that connects, and then do not behave."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CONFIRMED", "full_backlog", "impostor"]

CONFIRMED = b":1\r\n"
"""What a server with one replica in step answers to WAIT."""


@contextmanager
def impostor(
    on_enqueue: Callable[[socket.socket], object],
    *,
    before_greeting: Callable[[], object] = lambda: None,
    on_wait: Callable[[socket.socket], object] = lambda peer: peer.sendall(CONFIRMED),
    on_check: Callable[[socket.socket], object] = lambda peer: peer.sendall(CONFIRMED),
) -> Iterator[str]:
    """Serve the handshake as Redis does, and each enqueue as told, in a thread for each connection.

    Args:
        on_enqueue: Answers one enqueue on the socket that it gets.
        before_greeting: Is called before each command of the handshake is answered.
        on_wait: Answers each WAIT or WAITAOF, but
        on_check: the first of a connection, which is for a write that changes nothing.

    Yields:
        The URL.
    """
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[Thread] = []

        def accept() -> None:
            with suppress(OSError):  # the listener was shut down
                while True:
                    peer = opened.enter_context(listener.accept()[0])
                    opened.callback(_hang_up, peer)
                    threads.append(Thread(target=_serve, args=(peer, on_enqueue, before_greeting, on_wait, on_check)))
                    threads[-1].start()

        accepting = Thread(target=accept)
        accepting.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        finally:
            _hang_up(listener)
            accepting.join()
            opened.close()
            for thread in threads:
                thread.join()


@contextmanager
def full_backlog() -> Iterator[str]:
    """Listen, never accept, and have no room left for another connection: packets to it vanish.

    Yields:
        The URL.
    """
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            filler = opened.enter_context(socket.socket())
            filler.settimeout(0.1)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def _serve(
    peer: socket.socket,
    on_enqueue: Callable[[socket.socket], object],
    before_greeting: Callable[[], object],
    on_wait: Callable[[socket.socket], object],
    on_check: Callable[[socket.socket], object],
) -> None:
    answer = on_check
    with suppress(OSError, ValueError), peer.makefile("rb") as reading:  # until either side hangs up
        while counted := reading.readline():
            parts = [reading.read(int(reading.readline()[1:]) + 2)[:-2] for _ in range(int(counted[1:]))]
            match parts[0]:
                case b"EVAL" if parts[2] == b"1":  # the record of the partitions
                    before_greeting()
                    peer.sendall(b":0\r\n")
                case b"EVAL":
                    on_enqueue(peer)
                case b"HINCRBY":
                    peer.sendall(b":0\r\n")
                case b"WAIT" | b"WAITAOF":
                    answer(peer)
                    answer = on_wait
                case _:
                    before_greeting()
                    peer.sendall(b"+OK\r\n")


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side may have done so before
        end.shutdown(socket.SHUT_RDWR)
