"""The little of Redis's protocol (RESP) that a producer speaks: one command, and one line in reply.

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

__all__ = ["MOST_MESSAGES", "PING", "PONG", "enqueuing", "leaves_clean", "require_taken"]

PING: Final = b"*1\r\n$4\r\nPING\r\n"
PONG: Final = b"+PONG"

MOST_MESSAGES: Final = 5_000
"""Messages of one command: the script hands them to LPUSH with Lua's unpack, which has room for not quite 8,000."""

_NOT_MASTER: Final = re.compile(rb"-(?:@user_script: \d+: -?)?(?:READONLY|MASTERDOWN|LOADING|NOREPLICAS)\b")
"""Refusals of a server that is no longer, or not yet, the master, or that has lost its replicas, perhaps because one of
them is the master now: a new connection may find the one that is. Redis 6 says first where in a script it failed."""

_CLUSTER: Final = re.compile(rb"-(?:@user_script: \d+: -?)?(?:CROSSSLOT|MOVED|ASK)\b")

_SHOWN: Final = 200


def _bulk(data: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _script() -> bytes:
    """The script without its comments: it travels with every command, so that no server need have seen it before."""
    lines = (pkgutil.get_data("producer", "enqueue.lua") or b"").splitlines()
    return b"\n".join(line for line in lines if not line.startswith(b"--"))


_EVAL: Final = _bulk(b"EVAL") + _bulk(_script()) + _bulk(b"2")


def enqueuing(queue: str, messages: Sequence[bytes]) -> bytes:
    """Return the command that lays all of ``messages`` in a queue and counts them as accepted, in one step.

    Raises:
        ValueError: They are more than one command can carry.
    """
    if len(messages) > MOST_MESSAGES:
        raise ValueError(f"messages are {len(messages)}: expected at most {MOST_MESSAGES} at once")
    parts = [b"*%d\r\n" % (len(messages) + 5), _EVAL, _bulk(queue.encode()), _bulk(counts_of(queue).encode())]
    parts += [b"$%d\r\n%b\r\n" % (len(message), message) for message in messages]
    return b"".join(parts)


def leaves_clean(line: bytes) -> bool:
    """Tell whether the connection that brought this reply is good for another command."""
    return (line[:1] in (b":", b"-") or line == PONG) and b"\n" not in line and not _NOT_MASTER.match(line)


def require_taken(line: bytes) -> None:
    """Return if the reply to the command, without its line end, says that Redis has taken the messages.

    Raises:
        BrokerUnavailable: Redis refused the command, and with it all of its messages.
        EnqueueUncertain: The reply is not one to the command; what became of the messages can't be known.
    """
    if line[:1] == b":" and line[1:].isdigit():
        return
    text = line[1:].decode(errors="replace")[:_SHOWN]
    if line[:1] == b"-":
        cluster = "; Redis is in cluster mode, which is not supported" if _CLUSTER.match(line) else ""
        raise BrokerUnavailable(f"Redis refused the event: {text}{cluster}")
    raise EnqueueUncertain("what answered does not answer as Redis does")
