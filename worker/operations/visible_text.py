"""Text of others where a person reads it: what would turn its order round, or hide in it, is written out."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["visible"]

_HIDDEN: Final = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Bidirectional controls, with which ``true`` can look like another word (CVE-2021-42574), and characters of no width:
https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters."""


def visible(text: str) -> str:
    """Return text with those characters as JSON escapes them, which in JSON means the same."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
