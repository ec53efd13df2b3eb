"""The little of Redis's protocol (RESP) that a producer speaks: one command, and one line in reply.

Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from producer.errors import BrokerUnavailable, EnqueueUncertain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PING", "leaves_clean", "lpush", "require_taken"]

PING: Final = b"*1\r\n$4\r\nPING\r\n"
_NOT_MASTER: Final = (b"-READONLY", b"-MASTERDOWN", b"-LOADING")
"""Refusals of a server that is no longer, or not yet, the master: a new connection may find the one that is."""

_SHOWN: Final = 200


def lpush(key: str, values: Sequence[bytes]) -> bytes:
    """Return the command that puts all of ``values`` on the list ``key``, in one step."""
    name = key.encode()
    parts = [b"*%d\r\n$5\r\nLPUSH\r\n$%d\r\n%b\r\n" % (len(values) + 2, len(name), name)]
    parts += [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"".join(parts)


def leaves_clean(line: bytes) -> bool:
    """Tell whether the connection that brought this reply is good for another command."""
    return line[:1] in (b":", b"-") and b"\n" not in line and not line.startswith(_NOT_MASTER)


def require_taken(line: bytes) -> None:
    """Return if the reply to LPUSH, without its line end, says that Redis has taken the values.

    Raises:
        BrokerUnavailable: Redis refused the command, and with it all of its values.
        EnqueueUncertain: The reply is not one to LPUSH; what became of the values can't be known.
    """
    if line[:1] == b":" and line[1:].isdigit():
        return
    text = line[1:].decode(errors="replace")[:_SHOWN]
    if line[:1] == b"-":
        raise BrokerUnavailable(f"Redis refused the event: {text}")
    raise EnqueueUncertain("what answered does not answer as Redis does")
