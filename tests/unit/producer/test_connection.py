"""Which idle connections are trusted, and waiting on any file descriptor."""

from __future__ import annotations

import fcntl
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from producer import EnqueueUncertain
from producer._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

PING = b"*1\r\n$4\r\nPING\r\n"


class _Owner:
    """What is used of redis-py's connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._sock = connected

    def disconnect(self) -> None:
        self._sock.close()


def _connection(ours: socket.socket) -> Connection:
    owner: Any = _Owner(ours)
    return Connection(owner)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and Redis's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_quiet_connection_is_used_again(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing to read, not closed."""
    assert _connection(ends[0]).usable()


def test_a_connection_that_redis_closed_is_not_used_again(ends: tuple[socket.socket, socket.socket]) -> None:
    """A restart, or Redis's own timeout for idle clients."""
    connection = _connection(ends[0])
    ends[1].close()

    assert not connection.usable()


def test_a_connection_with_something_unread_is_not_used_again(ends: tuple[socket.socket, socket.socket]) -> None:
    """It would be taken for the next call's answer."""
    connection = _connection(ends[0])
    ends[1].sendall(b":1\r\n")

    assert not connection.usable()


def test_a_connection_idle_for_long_is_not_trusted(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router may have forgotten it, and an event sent on it would vanish."""
    connection = _connection(ends[0])
    now = time.monotonic()

    monkeypatch.setattr(time, "monotonic", lambda: now + 59)
    assert connection.usable()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert not connection.usable()


def test_a_backend_with_thousands_of_sockets_can_wait_on_one_more() -> None:
    """A file descriptor above 1023 breaks select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(fileno=fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 2_000)) as high:
        connection = _connection(high)
        theirs.sendall(b":1\r\n")

        reply = connection.ask(PING, time.monotonic() + 5)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert reply == b":1"


def test_an_answer_in_pieces_is_put_together(ends: tuple[socket.socket, socket.socket]) -> None:
    """TCP keeps no borders; even the line's end may be cut in two."""
    connection = _connection(ends[0])
    ends[1].sendall(b":1")
    ends[1].sendall(b"7\r")
    with pytest.raises(EnqueueUncertain):
        connection.ask(PING, time.monotonic() + 0.05)
    ends[1].sendall(b":17\r")
    ends[1].sendall(b"\n")

    assert connection.ask(PING, time.monotonic() + 5) == b":17"
