"""Signatures of webhooks, as Standard Webhooks has them: https://www.standardwebhooks.com.

What is signed is the message's id, the time of the attempt and the body: so neither can be changed, and a copy that is
sent again later is refused by its time, or by its id.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["read_signing_keys", "signed_headers"]

_PREFIX: Final = "whsec_"
_SHORTEST_KEY, _LONGEST_KEY = 24, 64
"""Bytes, as the specification has them."""


def read_signing_keys(text: str) -> tuple[bytes, ...]:
    """Read one secret, or several that blanks separate: each signs, so that receivers can change to the next in time.

    Raises:
        ValueError: One is none. The message shows nothing of it.
    """
    keys = tuple(_key(one) for one in text.split())
    if not keys:
        raise ValueError(_EXPECTED)
    return keys


_EXPECTED: Final = (
    f"expected {_PREFIX} and {_SHORTEST_KEY} to {_LONGEST_KEY} bytes in base64: "
    f'echo "{_PREFIX}$(openssl rand -base64 32)" makes one'
)


def _key(text: str) -> bytes:
    try:
        key = b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(_EXPECTED) from None
    if not text.startswith(_PREFIX) or not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        raise ValueError(_EXPECTED)
    return key


def signed_headers(keys: Sequence[bytes], *, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Return the three headers of a webhook.

    Args:
        keys: What signs; each gives one signature.
        message_id: The message's own, the same in each attempt.
        at: When this attempt is made.
        body: What is sent, byte for byte.
    """
    timestamp = str(int(at.timestamp()))
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = (b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
