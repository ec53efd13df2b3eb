"""Entries of a queue: from our producers, from foreign clients in odd but valid JSON, and what is no message at all."""

from __future__ import annotations

import json
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FOREIGN", "NO_MESSAGES", "OURS", "as_text", "content", "spell"]

FOREIGN: Final[Mapping[str, Any]] = {}
OURS: Final[Mapping[str, Any]] = {"feedback": {"v": 2}}
"""Headers: `feedback.v` 2 says that the message was counted as accepted when it was enqueued."""


def content(
    name: str,
    *,
    tag: str = "",
    queue: str = "a",
    priority: int = 0,
    headers: Mapping[str, Any] = FOREIGN,
    info: Mapping[str, Any] = FOREIGN,
) -> dict[str, Any]:
    """A message, by Kombu's rules.

    Args:
        name: Marks it, in its body.
        tag: Its delivery tag; none of its own if ''.
        queue: Its queue.
        priority: Its priority.
        headers: Its headers.
        info: What else stands in its `delivery_info`.
    """
    properties: dict[str, Any] = {
        "delivery_info": {"exchange": "", "routing_key": queue, **info},
        "priority": priority,
        "delivery_tag": tag or f"tag of {name}",
    }
    return {
        "body": f"<<{name}>>",
        "content-encoding": "utf-8",
        "content-type": "text/plain",
        "headers": dict(headers),
        "properties": properties,
    }


def as_text(message: Any) -> bytes:
    """The bytes that Kombu and our producers would write."""
    return json.dumps(message).encode()


_ORDERS: Final = tuple(permutations(range(5)))
_SPACINGS: Final = ((", ", ": "), (",", ":"), (" ,  ", "\t:\n"))


@st.composite
def spell(draw: st.DrawFn, /, name: str, **parts: Any) -> bytes:
    """A foreign client's message: any order, any spacing, and headers and bodies that look like the whole."""
    message = content(name, **parts)
    message["headers"] |= draw(
        st.dictionaries(
            st.sampled_from(["headers", "properties", "delivery_info", "id", 'a "quoted" \\ name', "größe 🎉", "eta"]),
            st.recursive(
                st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", '{"headers": {}}', 'ü/\\"']),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(st.sampled_from(["headers", "delivery_info", "redelivered"]), inner, max_size=2)
                ),
                max_leaves=4,
            ),
            max_size=3,
        )
    )
    extra: Any = draw(st.sampled_from([None, False, {}, []]))
    if extra is not None:
        draw(st.sampled_from([message["headers"], message["properties"]["delivery_info"]]))["redelivered"] = extra
    if draw(st.booleans()):
        message["body"] = {"text": message["body"], "headers": {}, "properties": {"delivery_info": {"a": 1}}}
    keys = list(message)
    ordered = {keys[at]: message[keys[at]] for at in draw(st.sampled_from(_ORDERS))}
    separators = draw(st.sampled_from(_SPACINGS))
    text = json.dumps(ordered, ensure_ascii=draw(st.booleans()), separators=separators)
    return (draw(st.sampled_from(["", " ", "\n"])) + text + draw(st.sampled_from(["", " "]))).encode()


NO_MESSAGES: Final = (
    b"",
    b"nonsense",
    b'\x00\xff\xfe\n\r"\\',
    b"[1, 2]",
    b"null",
    b'"text"',
    b"{}",
    b'{"headers": {}}',
    b'{"headers": [], "properties": {"delivery_info": {}}}',
    b'{"headers": {}, "properties": []}',
    b'{"headers": {}, "properties": {"delivery_info": []}}',
    b'{"headers": {}, "properties": {"delivery_info": {}}',
    b'{"headers": {}, "properties": {"delivery_info": {}, "body_encoding": "base64"}, "body": "%"}',
    b'{"headers": {}, "properties": {"delivery_info": {}, "delivery_tag": "\xff"}}',
    b'{"headers": {"poison": "no hex"}, "properties": {"delivery_info": {}}}',
    b'{"headers": {"a": 0x10}, "properties": {"delivery_info": {}}}',
    b'{"headers": {"a": "\\ud800"}, "properties": {"delivery_info": {}, "delivery_tag": "\\ud800"}}',
    "{'headers': {}}".encode("utf-16"),
)
"""Entries that no Kombu can take, or not each one: what is no JSON, and what has not the parts of a message."""
