"""What must have an event: the command that waits for it, and what its reply means."""

from __future__ import annotations

from typing import Any

import pytest

from producer import AsyncFeedbackProducer, BrokerUnavailable, EnqueueUncertain, FeedbackProducer
from producer.write_concern import MOST_REPLICAS, WriteConcern

BOTH = pytest.mark.parametrize("kind", [FeedbackProducer, AsyncFeedbackProducer])
PROBE = b"*4\r\n$7\r\nHINCRBY\r\n$15\r\nfeedback:counts\r\n$8\r\naccepted\r\n$1\r\n0\r\n"
ONE = WriteConcern(replicas=1, fsync=False, queue="feedback")
TWO = WriteConcern(replicas=2, fsync=False, queue="feedback")
DISK = WriteConcern(replicas=0, fsync=True, queue="feedback")
DISKS = WriteConcern(replicas=1, fsync=True, queue="feedback")


def _milliseconds(command: bytes) -> int:
    return int(command.split(b"\r\n")[-2])


def test_the_command_says_how_many_and_how_long() -> None:
    """For replicas, and for disks: Redis' own and theirs."""
    assert TWO.wait(0) == b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$1\r\n1\r\n"
    assert DISKS.wait(0) == b"*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n"


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.005, 2), (0.1, 50), (0.25, 130), (1, 880), (60, 59_880)])
def test_redis_waits_for_less_than_the_time_left(seconds: float, milliseconds: int) -> None:
    """Its answer may be late by 100 ms, and must come within the budget."""
    assert _milliseconds(ONE.wait(seconds)) == milliseconds


@pytest.mark.parametrize("seconds", [0, -1, 1e-4])
def test_redis_never_waits_for_ever(seconds: float) -> None:
    """Which is what 0 ms would tell it."""
    assert _milliseconds(ONE.wait(seconds)) == 1


@pytest.mark.parametrize(
    ("concern", "reply"),
    [(ONE, [b":1"]), (ONE, [b":7"]), (TWO, [b":2"]), (DISK, [b"*2", b":1", b":0"]), (DISKS, [b"*2", b":1", b":2"])],
)
def test_enough_is_enough(concern: WriteConcern, reply: list[bytes]) -> None:
    """More than were asked for as well."""
    assert concern.is_whole(reply)
    assert concern.shortfall(reply) is None


@pytest.mark.parametrize(
    ("concern", "reply", "words"),
    [
        (ONE, [b":0"], "0 of 1 replicas confirmed it in time: look at the replicas in INFO replication"),
        (TWO, [b":1"], "1 of 2 replicas confirmed"),
        (DISK, [b"*2", b":0", b":0"], "its disk did not confirm it in time: look at appendfsync"),
        (DISKS, [b"*2", b":1", b":0"], "the disks of 0 of 1 replicas confirmed it in time: look at the replicas"),
        (DISKS, [b"*2", b":0", b":1"], "its disk did not confirm it in time: look at appendfsync"),
        (DISKS, [b"*2", b":0", b":0"], "its disk did not confirm it in time and the disks of 0 of 1 replicas"),
        (ONE, [b"-UNBLOCKED force unblock from blocking operation"], "WAIT for 1 replicas is refused: UNBLOCKED force"),
        (ONE, [b"-ERR WAIT cannot be used with replica instances."], "the master has changed; enqueue it again"),
        (ONE, [b"-NOPERM this user has no permissions to run the 'wait' command"], "+wait"),
        (DISK, [b"-ERR unknown command 'WAITAOF', with args beginning with: '1'"], "use Redis 7.2 or newer, or Valkey"),
        (
            DISKS,
            [b"-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."],
            "CONFIG SET appendonly yes",
        ),
        (ONE, [b"+OK"], "does not answer as Redis does"),
        (ONE, [b":"], "does not answer as Redis does"),
        (ONE, [b":-1"], "does not answer as Redis does"),
        (ONE, [b":1", b":1"], "does not answer as Redis does"),
        (ONE, [b"*2"], "does not answer as Redis does"),
        (DISK, [b":1"], "does not answer as Redis does"),
        (DISK, [b"*2", b":1", b"-ERR"], "does not answer as Redis does"),
        (DISK, [b"*2", b":1", b":1", b":1"], "does not answer as Redis does"),
    ],
)
def test_anything_else_confirms_nothing(concern: WriteConcern, reply: list[bytes], words: str) -> None:
    """The message says how many of how many, and what to look at."""
    assert concern.is_whole(reply)
    assert words in (concern.shortfall(reply) or "")


@pytest.mark.parametrize("reply", [[], [b"*2"], [b"*2", b":1"]])
def test_a_reply_for_disks_has_three_lines(reply: list[bytes]) -> None:
    """It is waited for until the last of them."""
    assert not DISK.is_whole(reply)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (None, EnqueueUncertain, "no answer from Redis: gone"),
        (b":1", EnqueueUncertain, "Redis took it, but did not confirm it (0 of 2 replicas are known to have it): gone"),
        (b"-OOM no memory", BrokerUnavailable, "Redis refused the event: OOM no memory"),
    ],
)
def test_what_is_known_when_the_connection_ends_is_told(reply: bytes | None, kind: type, words: str) -> None:
    """A refusal stays one, and says that nothing was taken."""
    error = TWO.cut_off(reply, "gone")

    assert type(error) is kind
    assert str(error) == words


def test_what_is_confirmed_first_writes_nothing() -> None:
    """To the counts of a partition that the server has: without them an event would be refused as well."""
    assert ONE.probe("") == PROBE
    assert ONE.probe("{a}") == PROBE.replace(b"$15\r\n", b"$18\r\n{a}")


def test_nothing_asked_for_is_no_concern() -> None:
    """And costs nothing."""
    assert WriteConcern.of(0, fsync=False, queue="feedback") is None


@BOTH
@pytest.mark.parametrize("replicas", [-1, MOST_REPLICAS + 1, 1.5, "1", True, None])
def test_a_number_of_replicas_that_can_not_be_is_refused(kind: Any, replicas: object) -> None:
    """Before the first event, with what is expected."""
    with pytest.raises(ValueError, match=r"replicas is .*: expected a whole number from 0 to 100"):
        kind(replicas=replicas)


@BOTH
def test_the_environment_asks_for_replicas_and_disks(kind: Any) -> None:
    """As everything else of a producer; a URL that is given changes nothing about it, and an argument wins."""
    environ = {"FEEDBACK_ENQUEUE_REPLICAS": "2\n", "FEEDBACK_ENQUEUE_FSYNC": "Yes"}

    assert kind.from_env(environ, url="redis://there")._concern == WriteConcern(
        replicas=2, fsync=True, queue="feedback"
    )
    assert kind.from_env(environ, replicas=1, fsync=False)._concern == ONE
    assert kind.from_env({"FEEDBACK_ENQUEUE_FSYNC": "no", "FEEDBACK_ENQUEUE_REPLICAS": ""})._concern is None


@BOTH
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FEEDBACK_ENQUEUE_REPLICAS", "-1", "expected a whole number from 0 to 100"),
        ("FEEDBACK_ENQUEUE_REPLICAS", "1.0", "expected a whole number from 0 to 100"),
        ("FEEDBACK_ENQUEUE_REPLICAS", "101", "expected a whole number from 0 to 100"),
        ("FEEDBACK_ENQUEUE_FSYNC", "maybe", "expected yes or no"),
    ],
)
def test_a_variable_that_can_not_be_read_is_named(kind: Any, name: str, value: str, expected: str) -> None:
    """Nothing weaker takes its place."""
    with pytest.raises(ValueError, match=f"{name} is '{value}': {expected}"):
        kind.from_env({name: value})


def test_a_spool_sends_with_the_same_concern(tmp_path: Any) -> None:
    """What it has kept is as durable in Redis as what went there at once."""
    with FeedbackProducer(replicas=1, spool=tmp_path) as producer:
        assert producer.spool is not None
        assert producer.spool._sender is not None
        with producer.spool._sender._connect("feedback") as sending:
            assert sending._concern == ONE
