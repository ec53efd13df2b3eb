"""The protocol: one command of any length, and what its reply means."""

from __future__ import annotations

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from producer.resp import leaves_clean, lpush, require_taken


def test_a_command_counts_its_parts_and_their_bytes() -> None:
    """Bytes, not characters; binary values pass untouched."""
    command = lpush("é", [b"one", b"\r\n\x00"])

    assert command == b"*4\r\n$5\r\nLPUSH\r\n$2\r\n\xc3\xa9\r\n$3\r\none\r\n$3\r\n\r\n\x00\r\n"


def test_the_length_of_the_list_says_that_redis_has_taken_it() -> None:
    """LPUSH answers with the new length."""
    require_taken(b":17")

    assert leaves_clean(b":17")


@pytest.mark.parametrize(
    ("reply", "clean"),
    [
        (b"-OOM command not allowed when used memory > 'maxmemory'.", True),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value", True),
        (b"-MISCONF Redis is configured to save RDB snapshots", True),
        (b"-NOREPLICAS Not enough good replicas to write.", True),
        (b"-NOAUTH Authentication required.", True),
        (b"-READONLY You can't write against a read only replica.", False),
        (b"-LOADING Redis is loading the dataset in memory", False),
        (b"-MASTERDOWN Link with MASTER is down", False),
    ],
)
def test_a_refusal_means_that_nothing_was_taken(reply: bytes, clean: bool) -> None:
    """Another server may be the master by now, so a connection to one that is not is given up."""
    with pytest.raises(BrokerUnavailable, match=reply[1:6].decode()):
        require_taken(reply)

    assert leaves_clean(reply) is clean


@pytest.mark.parametrize("reply", [b"", b":", b":1\r\n:2", b"+OK", b"HTTP/1.1 400 Bad Request", b":-1", b"$-1"])
def test_an_answer_that_is_not_one_to_lpush_tells_nothing(reply: bytes) -> None:
    """Its connection may hold the answer to somebody else's command."""
    with pytest.raises(EnqueueUncertain):
        require_taken(reply)


@pytest.mark.parametrize("reply", [b"", b":1\r\n:2", b"-ERR one\r\n:2", b"+OK"])
def test_a_connection_with_more_to_read_is_not_used_again(reply: bytes) -> None:
    """The rest would be taken for the next call's answer."""
    assert not leaves_clean(reply)


def test_a_refusal_shows_the_beginning_of_a_long_text_only() -> None:
    """Redis repeats the command's arguments in some of its errors."""
    with pytest.raises(BrokerUnavailable) as refusal:
        require_taken(b"-ERR " + b"x" * 10_000)

    assert len(str(refusal.value)) < 250
