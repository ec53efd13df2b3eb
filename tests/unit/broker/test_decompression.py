"""A compressed body is measured before it is unpacked, in little memory, whatever it claims to be."""

from __future__ import annotations

import bz2
import json
import lzma
import tracemalloc
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from worker.broker.decompression import unpacks_too_large
from worker.broker.payload import MAX_BYTES, POISON, to_payload

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = 64 * MAX_BYTES
FORMATS: dict[str, Callable[[bytes], bytes]] = {
    "application/x-gzip": zlib.compress,
    "zlib": zlib.compress,
    "application/x-bz2": bz2.compress,
    "bzip2": bz2.compress,
    "application/x-lzma": lzma.compress,
    "xz": lzma.compress,
}


def compressed(packed: bytes, name: str) -> dict[str, Any]:
    """A message with such a body."""
    return {
        "body": b64encode(packed).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"compression": name, "task": "feedback.deliver", "id": "i"},
        "properties": {"delivery_info": {}, "delivery_tag": "t", "body_encoding": "base64"},
    }


@pytest.fixture(scope="module", params=sorted({*FORMATS.values()}, key=lambda pack: pack.__module__))
def bomb(request: pytest.FixtureRequest) -> tuple[Callable[[bytes], bytes], bytes]:
    """A way to compress, and 64 MiB of nothing compressed by it."""
    return request.param, request.param(bytes(HUGE))


def test_what_unpacks_to_too_much_is_told_in_little_memory(bomb: tuple[Callable[[bytes], bytes], bytes]) -> None:
    """Under every name that Kombu has for the format."""
    pack, packed = bomb
    names = [name for name, way in FORMATS.items() if way is pack]
    messages = [compressed(packed, name) for name in names]
    tracemalloc.start()

    problems = [unpacks_too_large(message, most=MAX_BYTES) for message in messages]

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert problems == [f"its body unpacks to more than {MAX_BYTES} bytes"] * len(names)
    assert peak < HUGE / 4


@pytest.mark.parametrize("name", FORMATS)
def test_what_fits_may_be_unpacked(name: str) -> None:
    """Up to the last byte; one more is too much."""
    pack = FORMATS[name]

    assert unpacks_too_large(compressed(pack(bytes(1000)), name), most=1000) == ""
    assert unpacks_too_large(compressed(pack(bytes(1001)), name), most=1000) != ""


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_streams_behind_each_other_are_counted_together(pack: Callable[[bytes], bytes]) -> None:
    """Kombu unpacks all of them."""
    name = next(name for name, way in FORMATS.items() if way is pack)

    assert unpacks_too_large(compressed(pack(bytes(600)) * 2, name), most=1000) != ""
    assert unpacks_too_large(compressed(pack(bytes(600)) * 2, name), most=1200) == ""


def test_a_stream_that_asks_for_much_memory_is_refused() -> None:
    """The dictionary that an xz stream names is allocated before a byte is unpacked."""
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 * 1024 * 1024, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    compressor = lzma.LZMACompressor(filters=filters)
    packed = compressor.compress(b"{}") + compressor.flush()

    assert "can't be unpacked" in unpacks_too_large(compressed(packed, "xz"), most=MAX_BYTES)


@pytest.mark.parametrize("name", [["gzip"], 5, "application/x-unheard-of"])
def test_a_format_that_kombu_does_not_know_is_kombus_to_refuse(name: Any) -> None:
    """It says what is wrong, and unpacks nothing."""
    assert unpacks_too_large(compressed(b"x", name), most=MAX_BYTES) == ""


def test_what_is_too_large_is_poison_with_all_that_came() -> None:
    """A dead letter keeps it as it stood in the queue, which is small."""
    entry = json.dumps(compressed(zlib.compress(bytes(2 * MAX_BYTES)), "zlib")).encode()

    payload = to_payload(entry, tag="tag", queue="feedback")

    assert payload["headers"] == {POISON: f"its body unpacks to more than {MAX_BYTES} bytes"}
    assert payload["body"] == entry
    assert payload["properties"]["delivery_tag"] == "tag"
