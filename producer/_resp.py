"""The little of Redis's protocol (RESP) that a producer speaks: a few commands, and one line in reply to each.

Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import pkgutil
import re
from typing import TYPE_CHECKING, Final

from producer.errors import BrokerUnavailable, EnqueueUncertain
from producer.message import counts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MOST_MESSAGES", "PING", "PONG", "command", "enqueuing", "is_elsewhere", "is_reply", "is_taken", "leaves_clean",
    "moved_to", "refused", "require_answer", "require_taken", "script", "serves_nobody", "shown", "writing_nothing",
]  # fmt: skip

PONG: Final = b"+PONG"

MOST_MESSAGES: Final = 5_000
"""Messages of one command: the script hands them to LPUSH with Lua's unpack, which has room for not quite 8,000."""

_NOT_MASTER: Final = re.compile(
    rb"-(?:@user_script: \d+: -?)?(?:READONLY|MASTERDOWN|LOADING|NOREPLICAS|MOVED|CLUSTERDOWN)\b"
)
"""Refusals of a server that is no longer, or not yet, the master, or that has lost its replicas, perhaps because one of
them is the master now: a new connection may find the one that is. Redis 6 says first where in a script it failed."""

_ELSEWHERE: Final = re.compile(rb"-(?:MOVED|ASK|TRYAGAIN|CLUSTERDOWN)\b")
"""Refusals of a cluster that is at work on the slot: another node has it now, or will in a moment."""

_UNAVAILABLE: Final = re.compile(rb"-(?:@user_script: \d+: -?)?(?:LOADING|MASTERDOWN|READONLY)\b")
"""Refusals of a node that serves no client, or no longer writes: it has run nothing."""

_MOVED: Final = re.compile(rb"-MOVED \d+ (.*):(\d+)")

_CLUSTER: Final = re.compile(rb"-(?:@user_script: \d+: -?)?(?:CROSSSLOT|MOVED|ASK)\b")

_SHOWN: Final = 200


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def command(*words: bytes) -> bytes:
    """Return a command of these words."""
    return b"*%d\r\n%b" % (len(words), b"".join(map(_bulk, words)))


PING: Final = command(b"PING")


def script(name: str) -> bytes:
    """Return a script without its comments: it travels with every command, so that no server need have seen it."""
    lines = (pkgutil.get_data("producer", name) or b"").splitlines()
    return b"\n".join(line for line in lines if not line.startswith(b"--"))


_EVAL: Final = _bulk(b"EVAL") + _bulk(script("enqueue.lua")) + _bulk(b"2")


def enqueuing(queue: str, messages: Sequence[bytes], *, prefix: str = "") -> bytes:
    """Return the command that lays all of ``messages`` in a queue and counts them as accepted, in one step.

    ``prefix`` stands before each key.

    Raises:
        ValueError: They are more than one command can carry.
    """
    if len(messages) > MOST_MESSAGES:
        raise ValueError(f"messages are {len(messages)}: expected at most {MOST_MESSAGES} at once")
    keys = [_bulk((prefix + key).encode()) for key in (queue, counts_of(queue))]
    parts = [b"*%d\r\n" % (len(messages) + 5), _EVAL, *keys]
    parts += [b"$%d\r\n%b\r\n" % (len(message), message) for message in messages]
    return b"".join(parts)


def writing_nothing(queue: str, *, prefix: str = "") -> bytes:
    """Return the command that does what each enqueueing begins with, for no message: a write, which changes nothing.

    ``prefix`` stands before its key.
    """
    return command(b"HINCRBY", (prefix + counts_of(queue)).encode(), b"accepted", b"0")


def leaves_clean(line: bytes) -> bool:
    """Tell whether the connection that brought this reply is good for another command."""
    return is_reply(line) and not _NOT_MASTER.match(line)


def is_reply(line: bytes) -> bool:
    """Tell whether it is a reply of Redis' to one of these commands, and whole."""
    return (line[:1] in (b":", b"-") or line == PONG) and b"\n" not in line


def shown(line: bytes) -> str:
    """Return what a refusal says, as far as it is shown."""
    return line[1:].decode(errors="replace")[:_SHOWN]


def refused(line: bytes) -> BrokerUnavailable:
    """Return the error for a command that Redis refused with this line."""
    cluster = "; a cluster is named by redis+cluster:// in FEEDBACK_BROKER_URL" if _CLUSTER.match(line) else ""
    return BrokerUnavailable(f"Redis refused the event: {shown(line)}{cluster}")


def require_answer(line: bytes) -> None:
    """Return if the reply to a ping is no refusal; raises `BrokerUnavailable`."""
    if line[:1] == b"-":
        raise BrokerUnavailable(f"Redis refuses what it is asked: {shown(line)}")


def is_elsewhere(line: bytes) -> bool:
    """Tell whether a cluster refused the command because of where the slot is: it has run nowhere."""
    return _ELSEWHERE.match(line) is not None


def serves_nobody(line: bytes) -> bool:
    """Tell whether a node refused the command because of its own state: it has run nothing."""
    return _UNAVAILABLE.match(line) is not None


def moved_to(line: bytes) -> tuple[str, int] | None:
    """Return the host, which may be missing, and the port at which the slot is, if the command was sent elsewhere."""
    found = _MOVED.match(line)
    return (found[1].decode(errors="replace"), int(found[2])) if found else None


def is_taken(line: bytes) -> bool:
    """Tell whether the reply to the command says that Redis has taken the messages."""
    return line[:1] == b":" and line[1:].isdigit()


def require_taken(line: bytes) -> None:
    """Return if the reply to the command, without its line end, says that Redis has taken the messages.

    Raises:
        BrokerUnavailable: Redis refused the command, and with it all of its messages.
        EnqueueUncertain: The reply is not one to the command; what became of the messages can't be known.
    """
    if is_taken(line):
        return
    if line[:1] == b"-":
        raise refused(line)
    raise EnqueueUncertain("what answered does not answer as Redis does")
