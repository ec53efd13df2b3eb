"""Everything in the queue that is no event, all at once, between events that are."""

from __future__ import annotations

import json
import uuid
from base64 import b64decode
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, select

from tests.acceptance.test_poison import POISON, message
from tests.chaos.load import event_of
from tests.chaos.scenario import Scenario
from worker.database.models import DeadLetter
from worker.policy.retry import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.run import Run

__all__ = ["SCENARIOS"]

_HUGE: Final = 20 * 1024 * 1024
_DEEP: Final = 200_000
_MARK: Final = 41


def _in_the_queue(run: Run) -> None:
    """Each entry becomes one dead letter `invalid` with its bytes, and every event around it is delivered."""
    run.start_workers(2)
    poison = dict(_poison(run.short))
    told_twice = [_event(request_id, tag="one-tag-for-all") for request_id in run.take(5)]
    untold = [_event(request_id, tag=None) for request_id in run.take(5)]
    with run.load(), closing(run.client()) as client:
        for name, entry in poison.items():
            client.lpush("feedback\x06\x163" if name.startswith("a number") else "feedback", entry)
        client.lpush("feedback", *told_twice, *untold)
        run.faults += len(poison)
        run.over()
    run.drain()
    engine = create_engine(run.system.environment["FEEDBACK_DATABASE_URL"])
    with engine.connect() as connection:
        rows = connection.execute(select(DeadLetter.raw).where(DeadLetter.reason == Reason.INVALID)).scalars().all()
    engine.dispose()
    kept = [row or b"" for row in rows]
    run.require(len(kept) == len(poison), f"{len(poison)} entries were poison, {len(kept)} dead letters are invalid")
    for name, entry in poison.items():
        found = [row for row in kept if row == entry or _mark(entry) in row]
        run.require(found, f"the bytes of {name} are nowhere")
    exact = sum(entry in kept for entry in poison.values())
    run.notes.append(f"{len(poison)} kinds; {exact} dead letters are the entry byte by byte, the others the message")


def _poison(short: bool) -> Iterator[tuple[str, bytes]]:
    for name, text in POISON.items():
        yield name, text.encode()
    yield "text", b"not json " + _marked()
    yield "invalid UTF-8", b'\xff\xfe{"' + _marked() + b'": "\xc3\x28"}'
    yield "nothing", b""
    yield "zeros", b"\x00" * 64 + _marked()
    yield "a number of its own", b"271828"
    for name, value in {
        "text in JSON": "x",
        "a list": [1, [2]],
        "an object": {"a": 1},
        "null": None,
        "true": True,
    }.items():
        yield name, json.dumps(value).encode()
    for part in ("headers", "properties", "body", "content-type", "content-encoding"):
        yield f"no {part}", _without(part)
    yield "no delivery_info", _without("properties", "delivery_info")
    yield "properties that are a list", message([[], {}, {}], properties=[_marked().decode()]).encode()
    yield (
        "a lone surrogate",
        json.dumps({"headers": {"task": "\ud800" + _marked().decode()}, "properties": {}}).encode(),
    )
    yield "deep nesting", b"[" * _DEEP + _marked() + b"]" * _DEEP
    yield "deep objects", b'{"a":' * (_DEEP // 2) + b'"' + _marked() + b'"' + b"}" * (_DEEP // 2)
    if not short:
        yield "huge text", _marked() + b"x" * _HUGE
        huge = message([[], {"x": "x" * _HUGE}, {}]).encode()
        yield "a huge message", b'{"mark": "' + _marked() + b'", ' + huge[1:]  # its beginning is kept


def _without(*path: str) -> bytes:
    """A message that is no event, without one of its parts, and with a mark somewhere else."""
    mark = {"mark": _marked().decode()}
    envelope: dict[str, Any] = json.loads(message([[], mark, {}]))
    inner = envelope
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    envelope["headers" if path[0] != "headers" else "properties"] |= mark
    return json.dumps(envelope).encode()


def _event(request_id: str, *, tag: str | None) -> bytes:
    """An event of a careless client: its delivery tag is another message's, or there is none."""
    text = message([[], event_of(request_id).to_wire(), {}])
    envelope = json.loads(text)
    if tag is None:
        del envelope["properties"]["delivery_tag"]
    else:
        envelope["properties"]["delivery_tag"] = tag
    return json.dumps(envelope).encode()


def _marked() -> bytes:
    return f"mark-{uuid.uuid4()}".encode()


def _mark(entry: bytes) -> bytes:
    """What tells an entry from all others, if there is something: a mark, also in its body, or a delivery tag."""
    try:
        message = json.loads(entry)
        texts = [entry, b64decode(message["body"])]
        tag = str(message["properties"]["delivery_tag"]).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        texts, tag = [entry], entry or b"\x00 there is none"
    marks = [text[at : at + _MARK] for text in texts if (at := text.find(b"mark-")) >= 0]
    return marks[0] if marks else tag


SCENARIOS: Final[Sequence[Scenario]] = (
    Scenario(
        name="poison of every kind in the queue",
        play=_in_the_queue,
        events=2000,
        short=True,
        short_events=300,
        makes=("valkey", "redis"),
    ),
)
