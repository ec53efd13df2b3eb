"""Whose message it is that lies in Redis, as far as any client's can be read."""

from __future__ import annotations

import json
from base64 import b64decode

__all__ = ["request_id_in"]


def request_id_in(message: bytes) -> str:
    """Return the request_id of a message's event, by Celery's protocol 2 or 1; '' if it can't be read."""
    try:
        envelope = json.loads(message)
        body, encoding = envelope["body"], envelope["properties"].get("body_encoding")
        content = json.loads(b64decode(body) if encoding == "base64" else body)
        kwargs = content["kwargs"] if isinstance(content, dict) else content[1]
        return str(kwargs["request_id"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return ""
