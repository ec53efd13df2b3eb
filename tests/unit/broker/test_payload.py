"""Reading an entry: the same values as Kombu reads, and nothing that is passed over."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from worker.broker.payload import POISON, read_json, to_payload

texts = st.text() | st.sampled_from(["__type__", "__value__", "\\u005f_type__", "é", "\x00"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(value=values, ascii_only=st.booleans())
def test_what_kombu_reads_is_read_alike(value: Any, ascii_only: bool) -> None:
    """Whatever was written, and however it was spelled."""
    text = json.dumps(value, ensure_ascii=ascii_only)

    assert _outcome(read_json, text) == _outcome(loads, text)


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e400",
        "-0.0",
        "1.0000000000000002",
        "[1,]",
        '"\\ud800"',
        '{"a": 1, "a": 2}',
        "",
        "\ufeff1",
        "01",
        "[" * 3000 + "]" * 3000,
    ],
)
def test_what_is_no_plain_json_is_read_alike(text: str) -> None:
    """Python's own takes more than JSON is; the faster one stands aside."""
    assert repr(_outcome(read_json, text)) == repr(_outcome(loads, text))


def _outcome(read: Any, text: str) -> Any:
    try:
        return read(text)
    except (TypeError, ValueError, RecursionError) as error:  # an unknown type, or no type at all
        return type(error)


@pytest.mark.parametrize(
    "value", [datetime(2026, 1, 31, tzinfo=UTC), Decimal("1.5"), UUID("77e81bbc-3e7f-47b9-87fa-681b5d2f54e6")]
)
def test_kombus_own_types_come_back(value: object) -> None:
    """A foreign task's arguments may be of them, spelled plainly or with escapes."""
    text = dumps({"at": [value]})

    assert read_json(text) == {"at": [value]}
    assert read_json(text.replace("__type__", "\\u005f_type_\\u005F")) == {"at": [value]}


def _entry(body: str) -> bytes:
    properties = {"delivery_info": {}, "body_encoding": "base64"}
    return json.dumps({"headers": {}, "properties": properties, "body": body}).encode()


@pytest.mark.parametrize("body", ["%", "YQ==%", "YQ", "ü", "YQ==YQ=="])
def test_a_body_that_is_no_base64_makes_poison_of_the_whole(body: str) -> None:
    """Python's decoder, and so Kombu's, passes over what it does not know, so that an empty body may be left."""
    payload = to_payload(_entry(body), tag="tag", queue="feedback")

    assert POISON in payload["headers"]
    assert payload["body"] == _entry(body)


@pytest.mark.parametrize("between", ["", "\n", "\r\n", " "])
def test_lines_in_base64_are_no_harm(between: str) -> None:
    """MIME breaks it after 76 characters."""
    encoded = b64encode(b"x" * 100).decode()
    body = between.join([encoded[:76], encoded[76:]])

    assert to_payload(_entry(body), tag="tag", queue="feedback")["body"] == body
