"""What to do about a refusal of Redis: each has its own fix."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["advice", "is_cluster", "lacks_a_right"]

_CLUSTER: Final = re.compile(r"^(CROSSSLOT|MOVED|ASK)\b|don't hash to the same slot|not allowed in cluster mode")
_COMMAND: Final = re.compile(r"no permissions to run the '([^']+)' command")
_NO_KEY: Final = re.compile(r"no permissions to access (one of the keys|a key)\b", re.IGNORECASE)
_NO_CHANNEL: Final = re.compile(r"no permissions to access (one of the channels|a channel)\b", re.IGNORECASE)
"""Redis 7.0 has one wording, later ones and Valkey another."""

_LINES: Final = "docs/settings.md has all of them, in the section Rights, for ACL SETUSER"


def is_cluster(text: str) -> bool:
    """Tell whether a refusal says that Redis is in cluster mode."""
    return _CLUSTER.search(text) is not None


def lacks_a_right(text: str) -> bool:
    """Tell whether a refusal says that the login lacks a right."""
    return any(pattern.search(text) for pattern in (_COMMAND, _NO_KEY, _NO_CHANNEL))


def advice(text: str) -> str:
    """Return what to do about a refusal, as Redis words it; '' if that is not known."""
    if is_cluster(text):
        return "Redis is in cluster mode, which is not supported: use one that is not, with replicas and sentinels"
    if found := _COMMAND.search(text):
        return f"give the broker's login the right +{found[1].lower()}: {_LINES}"
    if _NO_KEY.search(text):
        return f"give the broker's login its keys: {_LINES}"
    if _NO_CHANNEL.search(text):
        return f"give the broker's login its channels, on which workers are spoken to: {_LINES}"
    return ""
