"""The page of the wire format says what the code writes."""

from __future__ import annotations

import inspect
import json
import re
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from producer import FeedbackEvent
from producer.message import ENVELOPE_VERSION, to_message
from producer.partitions import ON_A_CLUSTER, RECORD, partition_of, slot_of, tags
from producer.spool.line import contents, line
from tests.support.processes import ROOT
from worker.accounting import key_types
from worker.broker.keys import KEYS, Keys
from worker.clients.redis import keys
from worker.policy.envelope import Envelope

PAGE = (ROOT / "docs" / "wire-format.md").read_text()


def _section(heading: str) -> str:
    return re.split(r"\n##+ ", PAGE.split(f"# {heading}\n")[1])[0]


def _first_column(heading: str) -> list[str]:
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", _section(heading), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_message_is_one_of_ours() -> None:
    """But for what is random, and of the machine."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    event = FeedbackEvent(
        request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6",
        status=True,
        org="my-org",
        group="my-group",
        occurred_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    )
    written = json.loads(to_message(event, enqueued_at=datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)))

    assert _without_chance(json.loads(shown)) == _without_chance(written)


def _without_chance(message: dict[str, Any]) -> dict[str, Any]:
    message["headers"] |= {"id": "", "origin": ""}
    message["properties"]["delivery_tag"] = ""
    return message


def test_the_fields_of_the_event_are_listed() -> None:
    """In the order of the event."""
    assert [name for name in _first_column("The event") if name in FeedbackEvent.__slots__] == list(
        FeedbackEvent.__slots__
    )


def test_the_fields_of_the_envelope_are_listed() -> None:
    """All that a worker may write, and the version that it has."""
    written = re.findall(r'"(\w+)"[\]:]', inspect.getsource(Envelope.to_header))

    assert len(written) > 5
    assert sorted(_first_column("The header `feedback`")) == sorted(written)
    assert f"the version of the header: {ENVELOPE_VERSION}." in PAGE
    assert f"| envelope | its field `v` | 1 and {ENVELOPE_VERSION} | {ENVELOPE_VERSION} |" in PAGE


def test_what_the_transport_adds_is_listed() -> None:
    """Each header and property of a message that is ours."""
    sources = [ROOT / "worker/broker/payload.py", ROOT / "worker/delivery/tasks.py"]
    ours = {name for source in sources for name in re.findall(r'Final = "(feedback_\w+)"', source.read_text())}

    assert len(ours) > 3
    assert set(_first_column("What the transport adds")) == ours


def test_the_keys_in_redis_are_listed() -> None:
    """Each key that the code names, and Kombu's bindings."""
    named = {
        name.removesuffix(":")
        for name in vars(keys.FeedbackKeys()).values()
        if isinstance(name, str) and name.startswith("feedback:")
    }
    of_the_transport = {
        getattr(KEYS, name).removesuffix(":")
        for name, member in vars(Keys).items()
        if isinstance(member, property) and name != "steps_text"
    }
    listed = {name for name in _types_of_keys() if not name.endswith(":delayed")}

    assert "feedback:claim" in named
    assert listed == named | of_the_transport | {"feedback", "_kombu.binding.feedback", RECORD}
    assert "feedback:delayed" in PAGE


def test_the_partitions_are_those_of_the_code() -> None:
    """The example, and the tags and slots of 16."""
    cells = re.findall(r"`(\{feedback:[^`]+)` (\d+)", _section("Partitions"))

    assert cells == [(tag, str(slot_of(tag.strip("{}")))) for tag in tags(ON_A_CLUSTER)]
    name, digest, number = re.findall(
        r"For `(\S+)` the digest is `(\S+)`, .*\s16\s+partitions it is number (\d+)", _section("Partitions"), re.DOTALL
    )[0]
    assert digest == blake2b(name.encode(), digest_size=16).hexdigest()
    assert f"these bytes are `{digest[8:16]}`" in PAGE
    assert int(number) == partition_of(name, ON_A_CLUSTER) == int(digest[8:16], 16) % ON_A_CLUSTER


def test_the_keys_have_the_types_that_are_said() -> None:
    """Those that the doctor expects."""
    said = _types_of_keys()
    expected = {name: kind for name, kind in key_types._types(None).items() if name in said}

    assert len(expected) > 10
    assert {name: said[name] for name in expected} == expected


def _types_of_keys() -> dict[str, str]:
    rows = re.findall(r"^\| (`[^|]+) \| ([\w, ]+) \|", _section("Redis"), re.MULTILINE)
    types = {
        name.partition(":<")[0].replace("<exchange>", "feedback"): {"sorted set": "zset"}.get(kind, kind)
        for names, kinds in rows
        for name, kind in zip(re.findall(r"`([^`]+)`(?:,|$)", names), kinds.split(", "), strict=True)
        if "bucket" not in name
    }
    assert "feedback" in types
    return types


def test_the_line_of_the_spool_is_one_of_ours() -> None:
    """With its checksum."""
    (shown,) = re.findall(r"```text\n(.*?)```", _section("The spool"), re.DOTALL)
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    event = FeedbackEvent(
        request_id="77e81bbc-3e7f-47b9-87fa-681b5d2f54e6", status=True, org="my-org", group="my-group", occurred_at=at
    )
    (content,) = contents([event], queue="feedback", spooled_at=at + timedelta(seconds=1), trace={})

    assert shown.encode() == line(content, 1)
