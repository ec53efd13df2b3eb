"""The protocol: one command of any length, and what its reply means."""

from __future__ import annotations

import pytest

from producer import BrokerUnavailable, EnqueueUncertain
from producer._chunks import CHUNK
from producer._resp import MOST_MESSAGES, enqueuing, leaves_clean, require_taken


def test_a_command_counts_its_parts_and_their_bytes() -> None:
    """Bytes, not characters; binary values pass untouched."""
    command = enqueuing("é", [b"one", b"\r\n\x00"])

    begin, script = command.split(b"$4\r\nEVAL\r\n")
    assert begin == b"*7\r\n"
    length, script = script.split(b"\r\n", maxsplit=1)
    assert script[int(length[1:]) :] == (
        b"\r\n$1\r\n2\r\n$2\r\n\xc3\xa9\r\n$9\r\n\xc3\xa9:counts\r\n$3\r\none\r\n$3\r\n\r\n\x00\r\n"
    )


def test_the_script_that_travels_with_every_command_is_short() -> None:
    """Its comments stay at home."""
    command = enqueuing("feedback", [])

    assert len(command) < 400
    assert b"--" not in command


def test_more_messages_than_a_script_can_unpack_are_refused() -> None:
    """Redis would have counted them, and then failed to take them."""
    with pytest.raises(ValueError, match="messages are 5001: expected at most 5000"):
        enqueuing("feedback", [b"x"] * (MOST_MESSAGES + 1))

    assert CHUNK <= MOST_MESSAGES


def test_the_length_of_the_list_says_that_redis_has_taken_it() -> None:
    """The script answers with the new length."""
    require_taken(b":17")

    assert leaves_clean(b":17")


@pytest.mark.parametrize(
    ("reply", "clean"),
    [
        (b"-OOM command not allowed when used memory > 'maxmemory'.", True),
        (b"-WRONGTYPE Operation against a key holding the wrong kind of value", True),
        (b"-MISCONF Redis is configured to save RDB snapshots", True),
        (b"-NOAUTH Authentication required.", True),
        (b"-NOPERM this user has no permissions to run the 'eval' command", True),
        (b"-ERR The user executing the script can't run this command or subcommand", True),
        (b"-ERR READONLY is the name of a key", True),
        (b"-NOREPLICAS Not enough good replicas to write.", False),
        (b"-READONLY You can't write against a read only replica.", False),
        (b"-@user_script: 1: -READONLY You can't write against a read only replica.  ", False),
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
def test_an_answer_that_is_not_one_to_the_command_tells_nothing(reply: bytes) -> None:
    """Its connection may hold the answer to another call's command."""
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
