"""From the bytes of a list's entry to a message that Kombu can take; whatever the bytes are, there is one."""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from kombu.utils.json import loads

from worker.broker.decompression import unpacks_too_large

__all__ = [
    "HANDED_OUT_AS",
    "HELD_IN",
    "MAX_BYTES",
    "OWN_TAG",
    "POISON",
    "PROBE",
    "QUEUED_IN",
    "UNENDED",
    "UNREAD_ID",
    "due_at",
    "handed_out_at",
    "read_json",
    "to_payload",
]

POISON: Final = "poison"
"""The header of an entry that is no message: what is wrong with it. The entry itself is the body, as bytes.

In Redis the header's value is the entry in hex (`lua/fetch.lua`).
"""

_POISON_SIZE: Final = "poison_size"
"""The header of an entry that is too large: how many bytes it had. Of these the header `POISON` has the first."""

MAX_BYTES: Final = 1024 * 1024
"""Bytes that an entry may have, and its body unpacked: a thousand times an event's, and what a dead letter keeps."""

HANDED_OUT_AS: Final = "handed_out_as"
"""What a returned message says in its `delivery_info`: the delivery tag that it had when it was first handed out."""

OWN_TAG: Final = "feedback_own_tag"
"""The property of a message in flight that has the delivery tag which its client gave it. It decides nothing here."""

HELD_IN: Final = "feedback_held_in"
"""The property of a message in flight, of a queue that is counted: the key of the set of what its holder holds."""

QUEUED_IN: Final = "feedback_queue"
"""The property of a message in flight that says which queue it was taken from, whatever its sender says."""

UNENDED: Final = "feedback_unended"
"""The header that counts how often a message was handed out and did not come to an end (`lua/message.lua`)."""

UNREAD_ID: Final = "feedback_message_id"
"""The header of a message that can't be read and comes again as it is: by which identity it was first handed out."""

PROBE: Final = "feedback_probe"
"""The header of the one message that is handed out to see whether a hold can end."""


def to_payload(entry: bytes, *, tag: str, queue: str) -> dict[str, Any]:
    """Read an entry of a queue into a message as Kombu's virtual transports have it.

    An entry that is none is the body of one with the header `POISON`, of a content type that no task takes. ``tag`` is
    the delivery tag under which it is in flight; '' if it is not, as no acknowledgement will follow.
    """
    try:
        payload = _checked(read_json(entry.decode()))
    except Exception as error:  # noqa: BLE001 - Kombu's JSON constructs objects from the message, which may raise anything
        return _poison(entry, f"it is no message: {error!r}", tag=tag, queue=queue)
    headers = payload["headers"]
    if POISON in headers:
        return _unwrapped(entry, payload, tag=tag, queue=queue)
    if headers.get("compression") and (problem := unpacks_too_large(payload, most=MAX_BYTES)):
        return _poison(entry, problem, tag=tag, queue=queue)
    properties = payload["properties"]
    properties[OWN_TAG] = properties["delivery_tag"]
    if tag:
        properties["delivery_tag"] = tag
    elif handed_out_as := properties["delivery_info"].get(HANDED_OUT_AS):
        properties["delivery_tag"] = handed_out_as
    return payload


def read_json(text: str) -> object:
    r"""Read JSON as Kombu does, but without its hook for each object where none can be of one of Kombu's own types.

    Their mark is `__type__`. It may be spelled with escapes; those of ASCII begin with ``\u00``.

    Raises:
        ValueError: It is none; or whatever making one of those types raises.
    """
    if "__type__" in text or "\\u00" in text:
        return loads(text)
    try:
        return _DECODE(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return json.loads(text)  # which takes more than JSON is, such as NaN, and says what is wrong


_DECODE: Final = msgspec.json.Decoder().decode
"""Four times as fast as Python's, with the same result, whole numbers of any size included."""


def _unwrapped(entry: bytes, payload: dict[str, Any], *, tag: str, queue: str) -> dict[str, Any]:
    """Read the entry that a message of `lua/message.lua` stands for."""
    wrapped, size = payload["headers"][POISON], payload["headers"].get(_POISON_SIZE)
    try:
        raw = bytes.fromhex(wrapped) if payload.get("body") == "" else None
    except (TypeError, ValueError):
        raw = None
    if raw is None:
        return _poison(entry, "it has the header of an entry that is no message", tag=tag, queue=queue)
    if size is None:
        return to_payload(raw, tag=tag, queue=queue)
    problem = f"it is too large: {size} bytes, of which {MAX_BYTES} are allowed; these are the first {len(raw)}"
    return _poison(raw, problem, tag=tag, queue=queue)


def _checked(payload: object) -> dict[str, Any]:
    """Raise over whatever Kombu's own code would fail on."""
    if not isinstance(payload, dict):
        raise TypeError("not an object")
    payload.setdefault("headers", {})
    for name in ("headers", "properties"):
        if not isinstance(payload.get(name), dict):
            raise TypeError(f"{name} is not an object")
    properties = payload["properties"]
    if not isinstance(properties.get("delivery_info"), dict):
        raise TypeError("properties.delivery_info is not an object")
    properties.setdefault("delivery_tag", "")
    if (encoding := properties.get("body_encoding")) is not None:
        _check_encoding(encoding, payload.get("body"))
    return payload


def _check_encoding(encoding: object, body: object) -> None:
    if not isinstance(encoding, str):
        raise TypeError("properties.body_encoding is no text")
    if encoding.lower() == "base64":
        if not isinstance(body, str):
            raise TypeError("the body is no text")
        b64decode("".join(body.split()), validate=True)  # Kombu's own decoder passes over what is not base64
    elif encoding and encoding.lower() != "utf-8":
        raise ValueError(f"properties.body_encoding is {encoding}")


def handed_out_at(tag: str) -> int | None:
    """When a message was first handed out, in ms of Redis' clock, by its identity; None if that does not tell."""
    made_here = _MADE_HERE.fullmatch(tag)
    return int(made_here[1]) if made_here else None


_MADE_HERE: Final = re.compile(r"(\d{1,15})-[0-9a-f]+\.\d+-\d+")
"""A delivery tag of `lua/fetch.lua`."""


def _poison(entry: bytes, problem: str, *, tag: str, queue: str) -> dict[str, Any]:
    return {
        "body": entry,
        "content-type": "application/octet-stream",
        "content-encoding": "binary",
        "headers": {POISON: problem},
        "properties": {
            "delivery_tag": tag or binascii.hexlify(entry[:16]).decode(),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
        },
    }


def due_at(headers: object) -> int | None:
    """When a task message is due by its header ``eta``, in ms since 1970; None if it has none that can be read."""
    eta = headers.get("eta") if isinstance(headers, dict) else None
    try:
        moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
        if not isinstance(moment, datetime):
            return None
        aware = moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment
        return round(aware.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None
