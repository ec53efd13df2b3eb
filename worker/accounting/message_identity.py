"""Whose message it is that lies in Redis, as far as any client's can be read."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Final

from kombu.compression import decompress

from worker.broker.decompression import unpacks_too_large
from worker.broker.payload import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["arguments_in", "request_id_in"]

_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


def request_id_in(message: bytes) -> str:
    """Return the request_id of a message's event, by Celery's protocol 2 or 1; '' if it can't be read."""
    try:
        return str(_arguments(json.loads(message))["request_id"])
    except _UNREADABLE:
        return ""


def arguments_in(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the keyword arguments of a message, also of a compressed one; none if they can't be read."""
    try:
        if message["headers"].get("compression"):
            message = _unpacked(message)
        return _arguments(message)
    except _UNREADABLE:
        return {}


def _arguments(message: Mapping[str, Any]) -> Mapping[str, Any]:
    body, encoding = message["body"], message["properties"].get("body_encoding")
    content = json.loads(b64decode(body) if encoding == "base64" else body)
    arguments: Mapping[str, Any] = content["kwargs"] if isinstance(content, dict) else content[1]
    return arguments


def _unpacked(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if problem := unpacks_too_large(message, most=MAX_BYTES):
        raise ValueError(problem)
    body = decompress(b64decode(message["body"]), message["headers"]["compression"])
    return {**message, "body": body.decode(), "properties": {**message["properties"], "body_encoding": None}}
