"""A checksum before what it is checked over: what of the spool's files is whole, and what is torn or damaged.

It is CRC-32 in eight hexadecimal digits, and a space.
"""

from __future__ import annotations

import zlib
from typing import Final

__all__ = ["checked", "content_of"]

_DIGITS: Final = 8


def checked(content: bytes) -> bytes:
    """Return a content behind its checksum."""
    return b"%08x %b" % (zlib.crc32(content), content)


def content_of(text: bytes) -> bytes | None:
    """Return what a checksum is checked over; None if it is something else."""
    checksum, _, content = text.partition(b" ")
    try:
        return content if len(checksum) == _DIGITS and int(checksum, 16) == zlib.crc32(content) else None
    except ValueError:
        return None
