"""The bytes of a message that could not be read, as a page can show them."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Final

from worker.policy.dead_letter import clean

__all__ = ["RawView", "view_of"]

_SHOWN: Final = 16 * 1024
"""Bytes that a page shows; the rest is to be had as a file."""

_LINE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RawView:
    """What a page shows of the bytes.

    Attributes:
        text: As text, or as a hexdump if they are no text.
        is_text: Which of the two.
        size: How many bytes there are.
        shown: How many of these are shown.
    """

    text: str
    is_text: bool
    size: int
    shown: int


def view_of(raw: bytes) -> RawView:
    """Return what a page shows of the raw message."""
    head = raw[:_SHOWN]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=len(raw) <= _SHOWN)
        is_text = clean(text, max_bytes=_SHOWN) == text.replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        text, is_text = "", False
    return RawView(text=text if is_text else _hexdump(head), is_text=is_text, size=len(raw), shown=len(head))


def _hexdump(raw: bytes) -> str:
    return "\n".join(_line(start, raw[start : start + _LINE]) for start in range(0, len(raw), _LINE))


def _line(start: int, part: bytes) -> str:
    characters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)  # noqa: PLR2004 - the printable characters of ASCII
    return f"{start:08x}  {part.hex(' '):<{3 * _LINE - 1}}  {characters}"
