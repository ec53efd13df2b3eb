"""Values as an operator gives them, read alike by the command line, the pages and the API.

Each reader raises `ValueError`, whose message says what was expected: an empty value or a digit of another script is
refused, for a filter that can't be read must not choose every row.
"""

from __future__ import annotations

import math
import unicodedata
from contextlib import suppress
from typing import Final
from uuid import UUID

__all__ = ["LARGEST", "LONGEST", "read_decimal", "read_text", "read_uuid", "read_whole"]

LARGEST: Final = 2**63 - 1
"""What a BIGINT holds."""

LONGEST: Final = 200
"""Characters of one value: an org has 128 at most."""

_NO_TEXT: Final = frozenset({"Cc", "Cs"})
"""Control characters, NUL among them, which PostgreSQL refuses, and lone surrogates, which UTF-8 does not carry."""


def read_text(value: str) -> str:
    """Return a name or another text, without the blanks around it."""
    text = value.strip()
    if not text:
        raise ValueError("text that is not empty")
    if len(text) > LONGEST:
        raise ValueError(f"at most {LONGEST} characters")
    if any(unicodedata.category(character) in _NO_TEXT for character in text):
        raise ValueError("text without control characters and lone surrogates")
    return text


def read_whole(value: str, *, least: int = 0, most: int = LARGEST) -> int:
    """Return a whole number in decimal digits of ASCII: neither ``+7`` nor ``1_000``, which Python would take."""
    digits = value.strip()
    # The length first: Python refuses to read thousands of digits with an error of its own.
    if digits.isascii() and digits.isdecimal() and len(digits) <= len(str(LARGEST)) and least <= int(digits) <= most:
        return int(digits)
    raise ValueError(f"a whole number from {least} to {most}")


def read_decimal(value: str, *, least: float, most: float) -> float:
    """Return a number, such as ``0.5``, ``20`` or ``1e3``; neither NaN nor infinity."""
    number = math.nan
    with suppress(ValueError):
        number = float(value) if value.isascii() and "_" not in value else math.nan
    if not least <= number <= most:  # as NaN is, too
        raise ValueError(f"a number from {least:g} to {most:g}")
    return number


def read_uuid(value: str) -> str:
    """Return a UUID in its usual form."""
    with suppress(ValueError):
        if value.isascii():
            return str(UUID(value.strip()))
    raise ValueError("a UUID")
