"""Messages as no honest client writes them: each part of one in odd types, sizes and times; the same for a seed."""

from __future__ import annotations

import gzip
import json
import random
import uuid
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ELSEWHERE", "odd_messages"]

ELSEWHERE: Final = "elsewhere"
"""A queue into which some messages would have the worker publish."""


_DEEP: Final = "nested deeper than Python's own JSON writes"


def _written(value: Any) -> bytes:
    return json.dumps(value).replace(json.dumps(_DEEP), "[" * 3000 + "]" * 3000).encode()


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _signature(task: str = "feedback.deliver") -> dict[str, Any]:
    return {"task": task, "args": [], "kwargs": {}, "options": {"queue": ELSEWHERE}, "subtask_type": None}


_ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "x", "x" * 70_000,
    "\ud800", "a\x00b", "\N{PILE OF POO}", "%s %(x)s {}", "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59", "1970-01-01", [], [1, 2, 3], [None, None], ["x"], {}, {"a": 1}, {"x": [{"y": None}]},
    _nested(60), _DEEP, {"__type__": "datetime", "__value__": "x"}, {"__type__": "uuid", "__value__": 5},
    _signature(), [_signature()], [_signature(), _signature("celery.group")],
)  # fmt: skip

_TASKS: Final = ("celery.chain", "celery.map", "celery.backend_cleanup", "celery.group", "feedback.advance_replay", "x")

_HEADERS: Final = (
    "id", "lang", "root_id", "parent_id", "group", "group_index", "meth", "shadow", "eta", "expires", "retries",
    "timelimit", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps", "compression", "feedback", "feedback_probe", "feedback_unended", "traceparent", "headers", "properties",
    "reply_to", "chord", "called_directly", "is_eager", "delivery_info", "hostname", "_children", "update", "x-own",
)  # fmt: skip
_PROPERTIES: Final = (
    "correlation_id", "reply_to", "delivery_mode", "delivery_info", "priority", "body_encoding", "delivery_tag",
    "feedback_held_in", "feedback_queue", "x-own",
)  # fmt: skip
_EMBED: Final = ("callbacks", "errbacks", "chain", "chord", "x-own")
_ENVELOPE: Final = ("headers", "properties", "body", "content-type", "content-encoding", "x-own")
_ARGUMENTS: Final = ("request_id", "status", "org", "group", "occurred_at", "x-own")


def odd_messages(seed: int, count: int) -> Iterator[bytes]:
    """Yield so many messages, as they are laid in the queue, each with one odd part, or a few.

    Args:
        seed: The same gives the same messages, but for their request_ids.
        count: How many.
    """
    chance = random.Random(seed)
    for number in range(count):
        yield _odd(chance, number)


def _odd(chance: random.Random, number: int) -> bytes:
    request_id = str(uuid.uuid4())
    kwargs: dict[str, Any] = {"request_id": request_id, "status": "true", "org": "o", "group": "g"}
    embed: dict[str, Any] = {}
    headers: dict[str, Any] = {"task": "feedback.deliver", "id": request_id, "retries": 0}
    info: dict[str, Any] = {"exchange": "", "routing_key": "feedback"}
    properties: dict[str, Any] = {"delivery_tag": f"{number}-{request_id}", "delivery_info": info}
    envelope: dict[str, Any] = {"content-type": "application/json", "content-encoding": "utf-8"}
    parts: list[Any] = [[], kwargs, embed]
    spoilt: list[tuple[Any, Any, tuple[Any, ...]]] = [
        *[(headers, _HEADERS, _ODD)] * 5,
        (headers, ("task",), (*_TASKS, *_ODD)),
        (properties, _PROPERTIES, _ODD),
        (info, ("exchange", "routing_key"), (ELSEWHERE, *_ODD)),
        (embed, _EMBED, _ODD),
        (kwargs, _ARGUMENTS, _ODD),
        (parts, range(3), _ODD),
        (envelope, _ENVELOPE, _ODD),
    ]
    for _ in range(chance.choice((1, 1, 2, 3))):
        part, names, values = chance.choice(spoilt)
        part[chance.choice(names)] = chance.choice(values)
    body = _written(parts)
    if chance.random() < 0.1:
        headers["compression"], body = "application/x-gzip", gzip.compress(body)
    if chance.random() < 0.1:  # protocol 1
        body, headers = _written({**headers, "args": parts[0], "kwargs": parts[1], **embed}), {}
    properties = {"body_encoding": "base64"} | properties
    entry = _written({"body": b64encode(body).decode(), "headers": headers, "properties": properties} | envelope)
    cut = chance.randrange(len(entry)) if chance.random() < 0.02 else None
    return entry[:cut]
