"""A signed webhook: one POST, whose redirects are not followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import requests

from producer import __version__
from worker.policy.webhook_signature import signed_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

__all__ = ["post_webhook"]

_CONNECT: Final = 5.0
"""Seconds."""

_TAKEN: Final = range(200, 300)


def post_webhook(
    url: str, payload: str, *, keys: Sequence[bytes], message_id: str, at: datetime, timeout: float
) -> str:
    """Post a payload; return why it was not taken, without the address, or '' if it was.

    Args:
        url: The address.
        payload: The body, which is JSON.
        keys: What signs it.
        message_id: The message's id, the same in each attempt.
        at: Now.
        timeout: Seconds for the response's first byte, after which nothing of it is read.
    """
    body = payload.encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"aquilax-feedback/{__version__}"}
    headers |= signed_headers(keys, message_id=message_id, at=at, body=body)
    try:
        with (
            requests.Session() as session,
            session.post(
                url, data=body, headers=headers, timeout=(_CONNECT, timeout), allow_redirects=False, stream=True
            ) as response,
        ):
            return "" if response.status_code in _TAKEN else f"it responded {response.status_code}"
    except requests.exceptions.SSLError:
        return "TLS failed: its certificate, or the versions that both speak"
    except requests.Timeout:
        return f"no response within {timeout:g} s"
    except requests.ConnectionError:
        return "no connection"
    except requests.RequestException as error:
        return type(error).__name__  # whose text has the address
