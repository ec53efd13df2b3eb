"""The request_id in a message, which says to which partition it belongs."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from worker.broker.payload import read_json

__all__ = ["request_id_of"]


def request_id_of(message: dict[str, Any]) -> str:
    """Return the request_id among the arguments of a task's message; '' if it is no event's, or can't be read."""
    try:
        body, encoding = message["body"], message["properties"].get("body_encoding")
        text = b64decode(body).decode() if encoding == "base64" else body
        arguments: Any = read_json(text)
        found = arguments[1]["request_id"]
    except Exception:  # noqa: BLE001 - Kombu's JSON constructs objects from the message, which may raise anything
        return ""
    return found if isinstance(found, str) else ""
