"""The errors: everything foreign becomes one of three, and the three say what to do."""

from __future__ import annotations

import pickle
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis.exceptions

from producer import BrokerUnavailable, EnqueueUncertain, FeedbackEvent, InvalidEvent, ProducerError
from producer._connection import Connection, dial
from producer._connection_target import ConnectionTarget

if TYPE_CHECKING:
    from collections.abc import Iterator


# The test run itself imports more OSErrors, such as those of requests, which no socket raises.
LIBRARIES = {"builtins", "producer", "redis", "socket", "ssl"}


def _family(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.partition(".")[0] in LIBRARIES:
            yield from _family(child)


def _of_redis() -> set[type[BaseException]]:
    return {
        kind
        for kind in vars(redis.exceptions).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__.startswith("redis")
    }


FOREIGN = sorted(
    {*_of_redis(), *_family(OSError), *_family(redis.RedisError), UnicodeError, ValueError, MemoryError},
    key=lambda kind: f"{kind.__module__}.{kind.__qualname__}",
)
WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
OF_SOCKETS = [kind for kind in FOREIGN if issubclass(kind, OSError) and not issubclass(kind, WOULD_BLOCK)]


def _raise(kind: type[BaseException]) -> BaseException:
    """An instance, made without its own __init__, whose arguments differ from class to class."""
    error = kind.__new__(kind)
    error.args = ("0 there:6379",)
    return error


class _FailingConnection:
    """A connection of redis-py's that fails to connect."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def connect(self) -> None:
        raise self._error

    def disconnect(self) -> None:
        pass


class _Address:
    """An address where connecting fails."""

    patience = 1.0
    tls = False

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def connection(self) -> _FailingConnection:
        return _FailingConnection(self._error)

    def __str__(self) -> str:
        return "redis://there:6379/0"


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__qualname__)
def test_whatever_fails_while_connecting_leaves_the_event_unsent(kind: type[BaseException]) -> None:
    """No event has been sent before there is a connection, so the caller may try again later."""
    address: Any = _Address(_raise(kind))

    error = dial(ConnectionTarget(address=address, prefix="")).exception(timeout=5)

    assert type(error) is BrokerUnavailable
    assert type(error.__cause__) is kind
    assert "redis://there:6379/0" in str(error)


class _Socket:
    """One end of a real socket pair, which fails when told to."""

    def __init__(self, end: socket.socket, *, send: BaseException | None, recv: BaseException | None) -> None:
        self._end = end
        self._send = send
        self._recv = recv

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def send(self, data: bytes) -> int:
        if self._send:
            raise self._send
        return self._end.send(data)

    def recv(self, size: int) -> bytes:
        if self._recv:
            raise self._recv
        return self._end.recv(size)


class _Owner:
    def __init__(self, failing: _Socket) -> None:
        self._sock = failing


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection: ours, and Redis's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("kind", OF_SOCKETS, ids=lambda kind: kind.__qualname__)
def test_a_command_that_did_not_leave_whole_was_not_taken(
    kind: type[BaseException], pair: tuple[socket.socket, socket.socket]
) -> None:
    """Redis runs whole commands only; an error of send says that this one is not whole."""
    owner: Any = _Owner(_Socket(pair[0], send=_raise(kind), recv=None))

    with pytest.raises(BrokerUnavailable):
        Connection(owner).ask(b"*1\r\n$4\r\nPING\r\n", time.monotonic() + 1)


@pytest.mark.parametrize("kind", OF_SOCKETS, ids=lambda kind: kind.__qualname__)
def test_a_command_without_an_answer_may_have_been_taken(
    kind: type[BaseException], pair: tuple[socket.socket, socket.socket]
) -> None:
    """From the moment that it left, only Redis's answer tells."""
    owner: Any = _Owner(_Socket(pair[0], send=None, recv=_raise(kind)))
    pair[1].sendall(b":")

    with pytest.raises(EnqueueUncertain):
        Connection(owner).ask(b"*1\r\n$4\r\nPING\r\n", time.monotonic() + 1)


def test_the_walk_meets_the_errors_that_matter() -> None:
    """A walk that finds nothing would prove nothing."""
    assert {redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError, redis.BusyLoadingError} <= set(
        FOREIGN
    )
    assert {ConnectionResetError, TimeoutError, socket.gaierror, ssl.SSLCertVerificationError} <= set(FOREIGN)


def test_every_error_is_caught_by_one_name() -> None:
    """A backend that treats all of them alike needs to know ProducerError only."""
    assert set(_family(ProducerError)) == {ProducerError, InvalidEvent, BrokerUnavailable, EnqueueUncertain}


def _event() -> FeedbackEvent:
    return FeedbackEvent(request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="o", group="g")


@pytest.mark.parametrize(
    "error",
    [
        InvalidEvent("org is missing", field="org", taken=500, not_taken=(_event(),)),
        BrokerUnavailable("away", taken=500, not_taken=(_event(),)),
        EnqueueUncertain("no answer", taken=500, not_taken=(_event(),)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error: ProducerError) -> None:
    """Process pools pickle what a call raised."""
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
