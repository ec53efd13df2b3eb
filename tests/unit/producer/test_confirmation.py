"""A server that takes an event, and then confirms it, or does not, in every way that one can."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from producer import BrokerUnavailable, EnqueueUncertain, ProducerError
from producer._connection import Connection
from producer.write_concern import WriteConcern
from tests.support.impostor import CONFIRMED, impostor
from tests.support.producers import EVENT, attempt, produce

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.producers import InALoop, InThreads

both = pytest.mark.parametrize("kind", ["threads", "asyncio"])

TAKEN = b":1\r\n"


def _says(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Answer with these pieces; an empty one ends the connection."""

    def answer(peer: socket.socket) -> None:
        for piece in pieces:
            if piece:
                peer.sendall(piece)
            else:
                peer.shutdown(socket.SHUT_RDWR)

    return answer


class _Counted:
    """An answer, and how often it was given."""

    def __init__(self, *pieces: bytes) -> None:
        self._answer = _says(*pieces)
        self.times = 0

    def __call__(self, peer: socket.socket) -> None:
        self.times += 1
        self._answer(peer)


@both
def test_what_is_confirmed_is_taken(kind: str) -> None:
    """And the connection serves the next event."""
    check = _Counted(CONFIRMED)
    with impostor(_says(TAKEN), on_check=check) as url, produce(kind, url, replicas=1, timeout=5) as producer:
        outcomes = [attempt(producer) for _ in range(3)]

    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert check.times == 1


@both
def test_replies_may_come_in_pieces(kind: str) -> None:
    """TCP keeps no borders, and the reply for disks has several lines."""
    pieces = [b":", b"1\r", b"\n*2", b"\r\n:1\r\n", b":1\r\n"]
    with (
        impostor(lambda _: None, on_wait=_says(*pieces), on_check=_says(b"*2\r\n:1\r\n:1\r\n")) as url,
        produce(kind, url, replicas=1, fsync=True, timeout=5) as producer,
    ):
        outcomes = [attempt(producer) for _ in range(2)]

    assert [outcome.error for outcome in outcomes] == [None] * 2


@both
@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([b":0\r\n"], "Redis took it, but 0 of 1 replicas confirmed it in time"),
        ([b"-UNBLOCKED force unblock, instance state changed (master -> replica?)\r\n", b""], "UNBLOCKED"),
        ([b"-ERR WAIT cannot be used with replica instances.\r\n"], "the master has changed"),
        ([b""], "did not confirm it (0 of 1 replicas are known to have it): the connection was closed"),
        ([b":", b""], "did not confirm it (0 of 1 replicas are known to have it): the connection was closed"),
        ([b"+OK\r\n"], "does not answer as Redis does"),
        ([b":1\r\n:1\r\n"], "does not answer as Redis does"),
    ],
    ids=["fewer", "unblocked", "refused", "closed", "half a reply", "no count", "too much"],
)
def test_what_is_not_confirmed_is_uncertain(kind: str, pieces: list[bytes], words: str) -> None:
    """The next event goes over another connection, which may lead to another master."""
    check = _Counted(CONFIRMED)
    if kind == "asyncio" and pieces == [b":1\r\n:1\r\n"]:
        words = ""  # the first of the two has confirmed it, and the connection ends with the second
    with (
        impostor(_says(TAKEN), on_wait=_says(*pieces), on_check=check) as url,
        produce(kind, url, replicas=1, timeout=5) as producer,
    ):
        outcomes = [attempt(producer) for _ in range(2)]

    for outcome in outcomes:
        if words:
            assert type(outcome.error) is EnqueueUncertain
            assert words in str(outcome.error)
            assert outcome.error.not_taken == (EVENT,)
    assert check.times == 2


@both
def test_a_confirmation_that_does_not_come_is_not_waited_for(kind: str) -> None:
    """The budget is the call's, whatever the server does."""
    with impostor(_says(TAKEN), on_wait=lambda _: None) as url, produce(kind, url, replicas=1) as producer:
        outcome = attempt(producer)

    assert type(outcome.error) is EnqueueUncertain
    assert "0 of 1 replicas are known to have it" in str(outcome.error)


@both
@pytest.mark.parametrize(
    ("wait", "checks"), [(CONFIRMED, 1), (b":0\r\n", 1), (b"", 2)], ids=["told", "short", "closed"]
)
def test_a_refusal_is_one_whatever_the_replicas_say(kind: str, wait: bytes, checks: int) -> None:
    """Nothing was written: what they confirm, or not, is an earlier event."""
    check = _Counted(CONFIRMED)
    with (
        impostor(_says(b"-OOM no memory\r\n"), on_wait=_says(wait), on_check=check) as url,
        produce(kind, url, replicas=1, timeout=5) as producer,
    ):
        outcomes = [attempt(producer)]
        if kind == "threads" or wait == CONFIRMED:  # the refusal ends an asynchronous call before the replicas' answer
            outcomes.append(attempt(producer))
            assert check.times == checks

    for outcome in outcomes:
        assert type(outcome.error) is BrokerUnavailable
        assert "Redis refused the event: OOM" in str(outcome.error)


@both
@pytest.mark.parametrize(
    ("reply", "options", "words"),
    [
        (b":0\r\n", {"replicas": 1}, "0 of 1 replicas confirmed"),
        (b":1\r\n", {"replicas": 2}, "1 of 2 replicas confirmed"),
        (b"-NOPERM no permissions to run the 'wait' command\r\n", {"replicas": 1}, "+wait"),
        (b"-ERR unknown command 'WAITAOF'\r\n", {"fsync": True}, "use Redis 7.2 or newer, or Valkey"),
        (b"-ERR WAITAOF: appendonly is disabled.\r\n", {"fsync": True}, "CONFIG SET appendonly yes"),
    ],
    ids=["no replica", "too few", "no right", "too old", "no file"],
)
def test_a_server_that_can_not_confirm_is_sent_nothing(
    kind: str, reply: bytes, options: dict[str, Any], words: str
) -> None:
    """It is asked when the connection is made: the event is not sent, and a probe of readiness tells the same."""
    enqueued = _Counted(TAKEN)
    with impostor(enqueued, on_check=_says(reply)) as url, produce(kind, url, timeout=5, **options) as producer:
        outcome = attempt(producer)
        with pytest.raises(BrokerUnavailable) as probed:
            _ping(producer)

    assert type(outcome.error) is BrokerUnavailable
    assert words in str(outcome.error)
    assert words in str(probed.value)
    assert enqueued.times == 0


@both
def test_a_ping_lets_a_write_be_confirmed(kind: str) -> None:
    """A replica that hangs is connected all the same: only a write shows it."""
    answers = iter([CONFIRMED, b":0\r\n"])
    with (
        impostor(_says(TAKEN), on_wait=lambda peer: peer.sendall(next(answers))) as url,
        produce(kind, url, replicas=1, timeout=5) as producer,
    ):
        _ping(producer)
        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas confirmed"):
            _ping(producer)


def _ping(producer: InThreads | InALoop) -> None:
    producer.ping(timeout=5)


class _Cut:
    """A socket that takes so many bytes, and fails then."""

    def __init__(self, end: socket.socket, takes: int) -> None:
        self._end, self._left = end, takes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)

    def send(self, data: memoryview) -> int:
        if not self._left:
            raise BrokenPipeError("cut")
        sent = self._end.send(data[: self._left])
        self._left -= sent
        return sent


@pytest.mark.parametrize(("left", "error"), [(-1, BrokerUnavailable), (0, EnqueueUncertain), (5, EnqueueUncertain)])
def test_a_command_that_left_whole_is_uncertain_although_the_wait_behind_it_did_not(
    left: int, error: type[ProducerError]
) -> None:
    """Redis runs it without what comes behind."""
    command = b"*1\r\n$4\r\nPING\r\n"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        owner: Any = type("Owner", (), {"_sock": _Cut(ours, len(command) + left)})()
        with pytest.raises(error):
            Connection(owner, WriteConcern.of(1, fsync=False, queue="feedback")).ask(command, time.monotonic() + 5)
